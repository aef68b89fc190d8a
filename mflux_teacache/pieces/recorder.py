"""What plugins that record full runs share: a JSON file, written anew after each image."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from mflux_teacache.errors import NotWritten, OptionError, PluginWarning
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.messages import tell, visible
from mflux_teacache.pieces.data_files import DataFiles, Figures, as_text
from mflux_teacache.pieces.output_files import add_output, check_output, replace_file, writing
from mflux_teacache.records import Target

Run = TypeVar("Run")


class Recording:
    """Base of a plugin: its option ``--<name>-output``, refused before the first image if it could not be written.

    One instance serves all images of the run, also those that overlap.

    Attributes:
        name: the plugin's.
        default: the file's name.
        what: of all images of the run it holds, such as ``the mean over``.
        files: that read what it writes.
    """

    keeps_images_apart = True

    name: ClassVar[str]
    default: ClassVar[str]
    what: ClassVar[str]
    files: ClassVar[DataFiles[Any]]
    _output: Path
    _target: Target

    @classmethod
    @hookimpl
    def mflux_add_options(cls, group: argparse._ArgumentGroup) -> None:
        add_output(
            group,
            f"--{cls.name}-output",
            default=Path(cls.default),
            help=f"JSON file to write, {cls.what} all images of this run (default: %(default)s)",
        )

    @hookimpl
    def mflux_check(self, options: argparse.Namespace) -> None:
        check_output(f"--{self.name}-output", options.output, ".json")

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace, target: Target) -> None:
        self._output, self._target = options.output, target

    def _write_all(self, runs: list[Run], write: Callable[[Sequence[Run]], None]) -> None:
        """Write what all images so far come to: once more if another thread has added one meanwhile."""
        written = 0
        while written < len(runs):
            some = tuple(runs)
            write(some)
            written = len(some)

    def _write(self, figures: Figures, told: str) -> None:
        """Write the file, and say so. Never raises: the image is worth more.

        Args:
            told: what it holds and how good that is; the rest of a sentence.
        """
        content = as_text(figures)
        try:
            self.files.parse(content, str(self._output))  # what would be refused when it is used, is refused now
            with writing(f"--{self.name}-output", self._output):
                replace_file(self._output, content.encode())
        except (OptionError, NotWritten) as problem:
            self._warn(f"has written nothing: {str(problem).removesuffix('.')}")
        else:
            self._say(f"wrote {self._output}, {told}")

    def _say(self, news: str) -> None:
        tell(visible(f"{self.name}: {news}."), sys.stdout)

    def _warn(self, problem: str) -> None:
        warnings.warn(f"{self.name} {problem}.", PluginWarning, stacklevel=3)
