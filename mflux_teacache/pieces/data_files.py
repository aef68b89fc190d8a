"""JSON files of figures that were measured on models: those that a strategy ships, and a user's own. No mlx."""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Generic, TypeVar

from mflux_teacache.about import About
from mflux_teacache.discovery import PACKAGE, installed
from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.pieces.input_files import Unreadable, parse_json, read_text
from mflux_teacache.pieces.option_types import (
    NAME,
    Allowed,
    check_fields,
    is_list_of,
    is_number,
    is_table_of,
    is_text,
    tests_of,
)
from mflux_teacache.pieces.retired import refuse_retired
from mflux_teacache.records import Target
from mflux_teacache.spelling import shortened

SCHEMA = 1

# A file of figures has 1 to 4 kB, and one with the prompts of a hundred images has 100 kB.
MOST_BYTES = 1_000_000

_LONGEST_SHOWN = 1000  # characters of a path, or of a text from a file, in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What every file says, whatever was measured: on which model, and by whom. A strategy's own dataclass adds to it.

    Attributes:
        name: its name in an option; for a shipped file, the name of the file.
        model: Hugging Face id of the model that it was made on.
        pipelines: class names of the mflux pipelines that it was made with.
        stand_in_for: ids of models that share the transformer and have no figures of their own.
        loras: LoRAs and scales of the runs, as ``loras_of`` gives them; ``None`` for the model as it was published.
        license: SPDX expression of the source.
        note: what else a user should know.
    """

    name: str
    model: str
    pipelines: tuple[str, ...]
    stand_in_for: tuple[str, ...] = ()
    loras: Mapping[str, float] | None = None
    license: str | None = None
    note: str | None = None

    def distance(self, target: Target) -> int | None:
        """How far off a target is: 0 for this model on this pipeline; ``None`` if the file is for another model."""
        # The weights: a checkpoint that is only based on the model (4) is farther than another model that these
        # figures stand in for (2), and that is farther than another pipeline (1).
        for offset, candidate in ((0, target.model), (4, target.base_model)):
            if candidate == self.model or candidate in self.stand_in_for:
                return offset + 2 * (candidate != self.model) + (target.pipeline not in self.pipelines)
        return None


_ALLOWED: Mapping[str, Allowed] = {
    "name": NAME,
    "pipelines": Allowed(is_list_of(is_text, at_least=1), "a list of class names, at least one"),
    "stand_in_for": Allowed(is_list_of(is_text), "a list of model ids"),
    "loras": Allowed(is_table_of(is_number), "an object with the scale of each LoRA"),
}

AnyFigures = TypeVar("AnyFigures", bound=Figures)


def as_text(figures: Figures) -> str:
    """The text of a file with these figures."""
    return json.dumps({"schema": SCHEMA, **asdict(figures)}, indent=2) + "\n"


def calibration_free() -> list[str]:
    """Names of this package's installed strategies that decide on any model, without figures measured on it."""
    ours = {plugin.name: plugin for plugin in installed() if plugin.package == PACKAGE}
    said: dict[str, About] = {name: plugin.entry_point.load().about for name, plugin in ours.items()}
    return sorted(name for name, about in said.items() if about.kind == "strategy" and not about.needs_calibration)


def loras_of(target: Target) -> dict[str, float]:
    """A target's LoRAs by name, wherever they are stored, with their scales."""
    scales = (*target.lora_scales, *(1.0 for _ in target.loras))  # mflux's own default, where fewer scales are given
    # LoRAs add up: their order is of no account, and one that is given twice counts with the sum of its scales.
    found: defaultdict[str, float] = defaultdict(float)
    for lora, scale in zip(target.loras, scales, strict=False):
        found[_called(lora)] += scale
    return dict(found)


def spelt(loras: Mapping[str, float]) -> str:
    """LoRAs in a message, such as ``style.safetensors at 0.8 and light.safetensors at 1``."""
    return " and ".join(f"{name} at {scale:g}" for name, scale in loras.items()) or "no LoRA"


def _called(lora: str) -> str:
    """A LoRA's name: that of its file, with the repository if it lies in Hugging Face's cache."""
    path = Path(lora)
    # Many repositories give their file the same name, such as pytorch_lora_weights.safetensors.
    repository = next((part for part in path.parts if part.startswith("models--")), "")
    return "/".join((*repository.split("--")[1:], path.name))


@dataclass(eq=False, kw_only=True)
class DataFiles(Generic[AnyFigures]):
    """The files of one strategy. A file is a JSON object with the fields of a dataclass and ``"schema": 1``.

    Attributes:
        strategy: its name in sentences, such as ``TeaCache``.
        noun: what one file is, such as ``calibration``.
        option: the option that names a file, such as ``--teacache-calibration``.
        otherwise: what to do if a model has no file, other than using a strategy that needs none; it ends a sentence.
        recorder: the plugin that makes a file, such as ``teacache-record``; ``None`` if there is none.
        folder: the folder with the shipped files.
        record: the dataclass; a list in a file becomes a tuple in it. A field whose default is ``None`` may be null.
        allowed: what a field of a file may hold, if its type (``option_types.OF_TYPE``) does not say it all.
        derive: a function from a file's checked fields, and its name for messages, to fields that follow from others.
            It may raise ``OptionError``.
    """

    strategy: str
    noun: str
    option: str
    otherwise: str
    recorder: str | None = None
    folder: Traversable
    record: type[AnyFigures]
    allowed: Mapping[str, Allowed]
    derive: Callable[[dict[str, Any], str], dict[str, Any]] = lambda data, where: {}
    _parsed: dict[str, AnyFigures] = field(default_factory=dict)

    @cached_property
    def _tests(self) -> Mapping[str, Allowed]:
        """What each field of a file may hold."""
        return tests_of(self.record, {**_ALLOWED, **self.allowed})

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the shipped files, sorted. No file is read for this."""
        files = (entry.name for entry in self.folder.iterdir())
        return tuple(sorted(name.removesuffix(".json") for name in files if name.endswith(".json")))

    @cached_property
    def shipped(self) -> Mapping[str, AnyFigures]:
        """The figures of the shipped files, sorted by name."""
        return {name: self._shipped(name) for name in self.names}

    def add_option(self, group: argparse._ActionsContainer) -> None:
        """Declare the option that names a file."""
        group.add_argument(
            self.option,
            metavar="NAME|FILE",
            help=f"use this {self.noun}: a .json file, or one of {', '.join(self.names)} (default: the model's)",
        )

    def load(self, name_or_path: str | Path) -> AnyFigures:
        """The figures that are shipped under a name, or those of a user's own file.

        Args:
            name_or_path: a name of ``shipped``; anything that ends in ``.json`` or contains a path separator
                is a file.

        Raises:
            OptionError: there is no such name, or the file cannot be read or holds something that is not allowed.
        """
        text = str(name_or_path)
        shown = shortened(text, _LONGEST_SHOWN)
        if text in self.names:
            return self._shipped(text)
        if not (text.endswith(".json") or any(separator in text for separator in (os.sep, os.altsep) if separator)):
            raise OptionError(
                f"{self.strategy} has no {self.noun} {shown!r}. It has: {', '.join(self.names)}. "
                f"A file of your own is named by its path, such as ./{shown or 'mine'}.json."
            )
        try:
            content = read_text(Path(text).expanduser(), MOST_BYTES)
        except (Unreadable, RuntimeError, ValueError) as error:  # the latter two: ~ of an unknown user
            raise OptionError(
                f"{self.strategy} cannot read the {self.noun} {shown}: {error}. Give the path of a UTF-8 JSON file, "
                f"or one of the names {', '.join(self.names)}."
            ) from error
        return self.parse(content, shown)

    def _shipped(self, name: str) -> AnyFigures:
        # One by one, so that naming a calibration or asking for help does not cost reading all of them.
        if name not in self._parsed:
            file = f"{name}.json"
            data = json.loads(self.folder.joinpath(file).read_text("utf-8"))
            self._parsed[name] = self._made(data, f"The {self.noun} {file}")
        return self._parsed[name]

    def parse(self, content: str, where: str) -> AnyFigures:
        """The figures in the text of a file; ``where`` is the file's name in messages.

        Raises:
            OptionError: the file holds something that is not allowed.
        """
        what = f"The {self.noun} {where}"
        try:
            data = parse_json(content)
        except (json.JSONDecodeError, RecursionError) as error:
            raise OptionError(f"{what} is not JSON: {error}. Compare it with a shipped one.") from error
        except ValueError as error:  # it is JSON, but with a field that is given twice, or a number of a million digits
            raise OptionError(f"{what} is not read: {error}. Compare it with a shipped one.") from error
        made = self._made(data, what)
        refuse_retired(made.model, what)
        return made

    def _made(self, data: Any, what: str) -> AnyFigures:
        """The figures that a file holds, checked; ``what`` is its name at the beginning of a message."""
        schema = data.pop("schema", None) if isinstance(data, dict) else None
        if type(schema) is not int or schema != SCHEMA:  # True equals 1
            raise OptionError(
                f'{what} is not a JSON object with "schema": {SCHEMA}, the only one that this version reads. '
                f"Write it anew, or upgrade mflux-teacache-plugin."
            )
        check_fields(self.record, data, what, self._tests, also=("schema",))
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
        return self.record(**(values | self.derive(data, what)))

    def nearest(self, target: Target) -> AnyFigures:
        """The shipped figures that are nearest to a target.

        Raises:
            Refused: none were made for its model, nor for a model with the same transformer.
        """
        near = [
            (away, name) for name, figures in self.shipped.items() if (away := figures.distance(target)) is not None
        ]
        if not near:
            raise Refused(
                f"{self.strategy} has no {self.noun} for {target.model or 'a model without a name'} "
                f"({target.pipeline}). It has: {', '.join(figures.model for figures in self.shipped.values())}. "
                f"Use one of the plugins that need none ({', '.join(calibration_free())}); or {self.otherwise}."
            )
        _, name = min(near)  # among equals, the first by name
        return self.shipped[name]

    def warn_if_made_elsewhere(self, figures: AnyFigures, target: Target) -> None:
        """Warn if the target differs from the model, pipeline and LoRAs on which these figures were made."""
        if difference := self.difference(figures, target):
            own = "a file of your own" + (f", which --plugin {self.recorder} makes" if self.recorder else "")
            warnings.warn(
                f"{shortened(difference, _LONGEST_SHOWN)}. Compare an image with one of a full run before you rely on "
                f"it, or give {self.option} {own}.",
                PluginWarning,
                stacklevel=2,
            )

    def difference(self, figures: AnyFigures, target: Target) -> str | None:
        """In what a target differs from what these figures were made on, without a full stop; ``None`` = in nothing."""
        made, here = figures.loras, loras_of(target)
        if figures.distance(target) != 0:
            return (
                f"{self.strategy} has no {self.noun} of {target.pipeline} on {target.model}; it uses {figures.name}, "
                f"made with {', '.join(figures.pipelines)} on {figures.model}{f' and {spelt(made)}' if made else ''}"
            )
        what = f"{self.strategy}'s {self.noun} {figures.name} was made on {figures.model}"
        # With -C, mflux passes a built-in model's own id as a path.
        checkpoint = None if target.model_path == figures.model else target.model_path
        if made is None:
            changes = [change for change in (checkpoint, *target.loras) if change is not None]
            return f"{what} as published, without {', '.join(changes)}" if changes else None
        if checkpoint is None and made == here:
            return None
        return f"{what} with {spelt(made)}, and this is {checkpoint or 'a run'} with {spelt(here)}"


class Chosen(Generic[AnyFigures]):
    """The figures of one plugin's instance: those that its option names, else those that are nearest to its model."""

    def __init__(self, files: DataFiles[AnyFigures]) -> None:
        self._files = files
        self._read: AnyFigures | None = None

    def get(self, named: str | None, target: Target) -> AnyFigures:
        """The figures; raises as ``DataFiles.load`` and ``nearest`` do."""
        if named is None:
            return self._files.nearest(target)
        if self._read is None:  # read once, since the file may change or vanish while images are made
            self._read = self._files.load(named)
        return self._read
