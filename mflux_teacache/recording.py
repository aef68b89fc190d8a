"""What plugins that record full runs share: a JSON file, written anew after each image."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import ClassVar

from mflux_teacache.data_files import Figures, as_text
from mflux_teacache.errors import PluginWarning
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.output_files import add_output, check_output
from mflux_teacache.records import Target


class Recording:
    """Base of a plugin: its option ``--<name>-output``, refused before the first image if it could not be written.

    Attributes:
        name: the plugin's.
        default: the file's name.
        what: of all images of the run it holds, such as ``the mean over``.
    """

    name: ClassVar[str]
    default: ClassVar[str]
    what: ClassVar[str]
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

    def _write(self, figures: Figures) -> None:
        self._output.write_text(as_text(figures), "utf-8")

    def _warn(self, problem: str) -> None:
        warnings.warn(f"{self.name} {problem}.", PluginWarning, stacklevel=3)
