"""The base of plugins that measure full runs: one file of figures for all images of a run, written anew after each."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from mflux_teacache.about import About
from mflux_teacache.errors import NotWritten, OptionError, PluginWarning
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.messages import tell
from mflux_teacache.pieces.data_files import DataFiles, Figures, as_text, loras_of
from mflux_teacache.pieces.option_types import LONGEST_NAME, LONGEST_TEXT
from mflux_teacache.pieces.output_files import add_output, check_output, replace_file, writing
from mflux_teacache.records import Generation, Target
from mflux_teacache.spelling import visible
from mflux_teacache.step import Body, Step


class Image(Protocol):
    """What is measured of an image in the making."""

    @property
    def steps(self) -> int:
        """How many steps it has measured."""

    @property
    def problem(self) -> str | None:
        """Why what it has measured is of no use; ``None`` if it is."""

    def measure(self, step: Step, body: Body) -> None:
        """Take in a step that is done."""


AnyImage = TypeVar("AnyImage", bound=Image)
Run = TypeVar("Run")


class Recording(Generic[AnyImage, Run]):
    """Measures full runs, and writes after each image what all images so far come to.

    One instance serves all images of the run, also those that overlap. The option ``--<name>-output`` is refused
    before the first image if it could not be written.

    Attributes:
        name: the plugin's.
        about: what it says of itself.
        default: the file's name.
        what: of all images of the run it holds, such as ``the mean over``.
        noun: what it writes, such as ``table``.
        image: makes what is measured of an image, before its first step.
        files: that read what it writes.
    """

    name: ClassVar[str]
    about: ClassVar[About]
    default: ClassVar[str]
    what: ClassVar[str]
    noun: ClassVar[str]
    image: type[AnyImage]
    files: ClassVar[DataFiles[Any]]
    _output: Path
    _target: Target

    def __init__(self) -> None:
        self._images: dict[int, AnyImage] = {}
        self._runs: list[Run] = []
        self._steps: int | None = None

    # What a subclass gives.

    def run_of(self, image: AnyImage, generation: Generation) -> Run:
        """What counts of an image that is finished and whole."""
        raise NotImplementedError

    def write(self, runs: Sequence[Run]) -> None:
        """Write what these runs come to, by ``write_file``, or say why not."""
        raise NotImplementedError

    # For use in these methods.

    def made_with(self) -> dict[str, Any]:
        """The fields of ``Figures`` that say what was measured, and by whom."""
        model = (self._target.model or "").strip() or "unknown"
        return {
            "name": f"{Path(model).name.lower()[: LONGEST_NAME // 2]}-recorded",
            "model": model[:LONGEST_TEXT],
            "pipelines": (self._target.pipeline,),
            "source": f"recorded by {self.name} with mflux {version('mflux')}",
            "loras": loras_of(self._target),
        }

    def write_file(self, figures: Figures, told: str) -> None:
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
            self.warn(f"has written nothing: {str(problem).removesuffix('.')}")
        else:
            self.say(f"wrote {self._output}, {told}")

    def say(self, news: str) -> None:
        tell(visible(f"{self.name}: {news}."), sys.stdout)

    def warn(self, problem: str) -> None:
        warnings.warn(f"{self.name} {problem}.", PluginWarning, stacklevel=3)

    # The hooks.

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

    @hookimpl
    def mflux_generation_start(self, generation: Generation) -> None:
        self._images[generation.number] = self.image()

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        self._images[step.generation.number].measure(step, body)

    @hookimpl
    def mflux_generation_end(self, generation: Generation) -> None:
        image = self._images.pop(generation.number)
        if generation.status != "finished":
            return
        if problem := self._problem(image, generation.num_inference_steps):
            self.warn(f"leaves out image {generation.number + 1}: {problem}")
            return
        self._steps = generation.num_inference_steps
        # The image's arrays go with it; only numbers are kept of it.
        self._runs.append(self.run_of(image, generation))
        # The file is written outside of any lock, from all images that are there when it begins.
        written = 0
        while written < len(self._runs):  # another thread may add one meanwhile
            some = tuple(self._runs)
            self.write(some)
            written = len(some)

    def _problem(self, image: AnyImage, steps: int) -> str | None:
        """Why an image cannot be one of the others; ``None`` if it can."""
        if steps == 1:
            return f"it has one step, and a {self.noun} is of the changes from step to step"
        if image.steps != steps:
            return f"it ran {image.steps} of {steps} steps, and a {self.noun} is of whole runs"
        if image.problem is not None:
            return image.problem
        if self._steps is not None and steps != self._steps:
            return f"it has {steps} steps, and the ones before have {self._steps}"
        return None


def counted(images: int) -> str:
    return f"{images} {'image' if images == 1 else 'images'}"
