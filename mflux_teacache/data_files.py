"""Figures that were measured on models, in JSON files: those that a strategy ships, and a user's own. No mlx."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from mflux_teacache.alternatives import calibration_free
from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.input_files import Unreadable, read_text
from mflux_teacache.json_fields import Allowed, brief, parse_json
from mflux_teacache.matching import loras_of, spelt
from mflux_teacache.records import Target
from mflux_teacache.terminal import shortened

SCHEMA = 1

# A file of figures has 1 to 4 kB, and one with the prompts of a hundred images 100.
MOST_BYTES = 1_000_000

_LONGEST_SHOWN = 1000  # of what a file says or a path is, in a message


class Figures(Protocol):
    """A dataclass with what one file says; with ``loras``, as ``matching.loras_of`` has them, if it records them."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def name(self) -> str:
        """What an option calls it."""

    @property
    def model(self) -> str:
        """Hugging Face id of the model that they were made on."""

    @property
    def pipelines(self) -> Sequence[str]:
        """Class names of the mflux pipelines that they were made on."""

    def distance(self, target: Target) -> int | None:
        """How far off a target is, as ``matching.distance`` has it."""


AnyFigures = TypeVar("AnyFigures", bound=Figures)


def as_text(figures: Figures) -> str:
    """A file that says these figures."""
    return json.dumps({"schema": SCHEMA, **dataclasses.asdict(figures)}, indent=2) + "\n"


class DataFiles(Generic[AnyFigures]):
    """The files of one strategy. A file is a JSON object with the fields of a dataclass and ``"schema": 1``.

    Args:
        strategy: its name in sentences, such as ``TeaCache``.
        noun: what one file is, such as ``calibration``.
        option: that names one, such as ``--teacache-calibration``.
        recorder: the plugin that makes one, such as ``teacache-record``; ``None`` if there is none.
        folder: with the files that are shipped.
        record: the dataclass; a list in a file is a tuple in it. A field whose default is ``None`` may be null.
        allowed: what a file may say in each field.
        derive: from a file's checked fields, and its name for messages, to fields that follow from others. It may
            raise ``OptionError``.
    """

    def __init__(
        self,
        *,
        strategy: str,
        noun: str,
        option: str,
        recorder: str | None = None,
        folder: Traversable,
        record: type[AnyFigures],
        allowed: Mapping[str, Allowed],
        derive: Callable[[dict[str, Any], str], dict[str, Any]] = lambda data, where: {},
    ) -> None:
        self._strategy = strategy
        self._noun = noun
        self._option = option
        self._recorder = recorder
        self._folder = folder
        self._record = record
        self._allowed = allowed
        self._derive = derive

    @cached_property
    def shipped(self) -> Mapping[str, AnyFigures]:
        """By name, in order."""
        files = [entry for entry in self._folder.iterdir() if entry.name.endswith(".json")]
        found = [self.parse(entry.read_text("utf-8"), entry.name) for entry in files]
        return {figures.name: figures for figures in sorted(found, key=lambda figures: figures.name)}

    def load(self, name_or_path: str | Path) -> AnyFigures:
        """What is shipped under a name, or a file of one's own.

        Args:
            name_or_path: a name of ``shipped``; anything that ends in ``.json`` or contains a path separator
                is a file.

        Raises:
            OptionError: no such name, or a file that cannot be read or says something that is not allowed.
        """
        text = str(name_or_path)
        shown = shortened(text, _LONGEST_SHOWN)
        if text in self.shipped:
            return self.shipped[text]
        if not (text.endswith(".json") or any(separator in text for separator in (os.sep, os.altsep) if separator)):
            raise OptionError(
                f"{self._strategy} has no {self._noun} {shown!r}. It has: {', '.join(self.shipped)}. "
                f"A file of your own is named by its path, such as ./{shown or 'mine'}.json."
            )
        try:
            content = read_text(Path(text).expanduser(), MOST_BYTES)
        except (Unreadable, RuntimeError, ValueError) as error:  # the latter two: ~ of nobody, or of no name at all
            raise OptionError(
                f"{self._strategy} cannot read the {self._noun} {shown}: {error}. Give the path of a UTF-8 JSON file, "
                f"or one of the names {', '.join(self.shipped)}."
            ) from error
        return self.parse(content, shown)

    def parse(self, content: str, where: str) -> AnyFigures:
        """What the text of a file says; ``where`` is its name in messages.

        Raises:
            OptionError: it says something that is not allowed.
        """
        what = f"The {self._noun} {where}"
        try:
            data = parse_json(content)
        except (json.JSONDecodeError, RecursionError) as error:
            raise OptionError(f"{what} is not JSON: {error}. Compare it with a shipped one.") from error
        except ValueError as error:
            raise OptionError(f"{what} is not read: {error}. Compare it with a shipped one.") from error
        schema = data.pop("schema", None) if isinstance(data, dict) else None
        if type(schema) is not int or schema != SCHEMA:
            raise OptionError(
                f'{what} is not a JSON object with "schema": {SCHEMA}, the only one that this version reads. '
                f"Write it anew, or upgrade mflux-teacache-plugin."
            )
        self._check(data, what)
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
        return self._record(**(values | self._derive(data, what)))

    def nearest(self, target: Target, otherwise: str) -> AnyFigures:
        """Of what is shipped, what is nearest to a target.

        Args:
            otherwise: what to do where there is none, beside using a strategy that needs none; ends the sentence.

        Raises:
            Refused: nothing was made for its model, nor for a model that it shares the transformer with.
        """
        near = [
            (away, name) for name, figures in self.shipped.items() if (away := figures.distance(target)) is not None
        ]
        if not near:
            raise Refused(
                f"{self._strategy} has no {self._noun} for {target.model or 'a model without a name'} "
                f"({target.pipeline}). It has: {', '.join(figures.model for figures in self.shipped.values())}. "
                f"Use one of the plugins that need none ({', '.join(calibration_free())}); or {otherwise}."
            )
        _, name = min(near)
        return self.shipped[name]

    def warn_if_made_elsewhere(self, figures: AnyFigures, target: Target) -> None:
        """Tell the user of a target that is not the very model, pipeline and LoRAs that these figures were made on."""
        if difference := self._difference(figures, target):
            own = "a file of your own" + (f", which --plugin {self._recorder} makes" if self._recorder else "")
            warnings.warn(
                f"{shortened(difference, _LONGEST_SHOWN)}. Compare an image with one of a full run before you rely on "
                f"it, or give {self._option} {own}.",
                PluginWarning,
                stacklevel=2,
            )

    def _difference(self, figures: AnyFigures, target: Target) -> str | None:
        # A strategy's own dataclass need not have the field.
        made: Mapping[str, float] | None = getattr(figures, "loras", None)
        here = loras_of(target)
        if figures.distance(target) != 0:
            return (
                f"{self._strategy} has no {self._noun} of {target.pipeline} on {target.model}; it uses {figures.name}, "
                f"made with {', '.join(figures.pipelines)} on {figures.model}{f' and {spelt(made)}' if made else ''}"
            )
        what = f"{self._strategy}'s {self._noun} {figures.name} was made on {figures.model}"
        # With -C, mflux passes a built-in model's own id as a path.
        checkpoint = None if target.model_path == figures.model else target.model_path
        if made is None:
            changes = [change for change in (checkpoint, *target.loras) if change is not None]
            return f"{what} as published, without {', '.join(changes)}" if changes else None
        if checkpoint is None and made == here:
            return None
        return f"{what} with {spelt(made)}, and this is {checkpoint or 'a run'} with {spelt(here)}"

    def _check(self, data: dict[str, Any], what: str) -> None:
        defaults = {field.name: field.default for field in dataclasses.fields(self._record)}
        missing = [name for name, default in defaults.items() if default is dataclasses.MISSING and name not in data]
        unknown = [name for name in data if name not in defaults]
        if missing or unknown:
            problem = (
                f"lacks {', '.join(missing)}"
                if missing
                else f"has the unknown fields {shortened(', '.join(unknown), 200)}"
            )
            raise OptionError(f"{what} {problem}. Its fields are schema, {', '.join(defaults)}.")
        for name, value in data.items():
            test, words = self._allowed[name]
            nullable = defaults[name] is None
            if not (test(value) or (value is None and nullable)):
                raise OptionError(
                    f"{what} has {name} = {brief(value)}; it must be {words}{' or null' if nullable else ''}."
                )
