"""The base of plugins that measure full runs. They write one file for all images of a run, anew after each image."""

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
    """The measurements of one image in the making."""

    @property
    def steps(self) -> int:
        """The number of measured steps."""

    @property
    def problem(self) -> str | None:
        """Why the measurements are useless; ``None`` if they are not."""

    def measure(self, step: Step, body: Body) -> None:
        """Measure a step that is done."""


AnyImage = TypeVar("AnyImage", bound=Image)
Run = TypeVar("Run")


class Recording(Generic[AnyImage, Run]):
    """Measures full runs, and writes after each image the result of all images so far.

    One instance serves all images of the run, even overlapping ones. If the file of ``--<name>-output`` could not be
    written, it is refused before the first image.

    Attributes:
        name: the plugin's name.
        about: what it says about itself.
        default: the default name of the file.
        what: how the file sums up all images of the run, such as ``the mean over``.
        noun: what it writes, such as ``table``.
        image: makes the empty measurements of an image, before its first step.
        files: reads what it writes.
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
        """The numbers that are kept of an image that is finished and was computed in full."""
        raise NotImplementedError

    def write(self, runs: Sequence[Run]) -> None:
        """Write the result of these runs with ``write_file``, or say why that is not possible."""
        raise NotImplementedError

    # For use in these methods.

    def made_with(self) -> dict[str, Any]:
        """The fields of ``Figures`` that say what was measured, and by whom."""
        return made_on(self._target, self.name)

    def write_file(self, figures: Figures, told: str) -> None:
        """Write the file, and say so. A failure is only a warning, since the image is worth more.

        Args:
            told: what the file holds and how good that is; it ends a sentence.
        """
        content = as_text(figures)
        try:
            self.files.parse(content, str(self._output))  # a file that its strategy would refuse must not be written
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
        # Only numbers are kept, so that the image's arrays are freed.
        self._runs.append(self.run_of(image, generation))
        # No lock is held while the file is written. It is written again if another thread has added an image meanwhile,
        # so that the last one to write always has all of them.
        written = 0
        while written < len(self._runs):
            some = tuple(self._runs)
            self.write(some)
            written = len(some)

    def _problem(self, image: AnyImage, steps: int) -> str | None:
        """Why an image cannot be counted with the others; ``None`` if it can."""
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


def made_on(target: Target, made_by: str) -> dict[str, Any]:
    """The fields of ``Figures`` that say what was measured, and by whom: a plugin or a command."""
    model = (target.model or "").strip() or "unknown"
    return {
        "name": f"{Path(model).name.lower()[: LONGEST_NAME // 2]}-recorded",
        "model": model[:LONGEST_TEXT],
        "pipelines": (target.pipeline,),
        "source": f"recorded by {made_by} with mflux {version('mflux')}",
        "loras": loras_of(target),
    }
