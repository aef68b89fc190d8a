"""MagCache's tables: data files with their source, and which of them fits a model."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.matching import distance
from mflux_teacache.option_types import is_window
from mflux_teacache.records import Target

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Ratios of a full run, and the settings that its source recommends with them.

    A file has the same fields and ``"schema": 1``.

    Attributes:
        name: what ``--magcache-table`` calls it.
        model: Hugging Face id of the model it was made on.
        pipelines: class names of the mflux pipelines it was made on.
        ratios: one per step of a full run: mean over the tokens of the residual's norm over that of the step
            before; the first is 1. One list for all guidance branches.
        threshold: recommended error threshold.
        skip_first: recommended window at the start: steps, or a fraction of the run (the source's retention ratio).
        max_skips: recommended cap on consecutive skips (the source's K).
        source: who published it, and where.
        stand_in_for: ids of models that share the transformer and have no table of their own.
        always: steps of the full run that the source computes whatever the error.
        license: SPDX expression of the source.
        note: what else a user should know.
    """

    name: str
    model: str
    pipelines: tuple[str, ...]
    ratios: tuple[float, ...]
    threshold: float
    skip_first: float
    max_skips: int
    source: str
    stand_in_for: tuple[str, ...] = ()
    always: tuple[int, ...] = ()
    license: str | None = None
    note: str | None = None

    def distance(self, target: Target) -> int | None:
        """How far off a target is, as ``matching.distance`` has it."""
        return distance(target, model=self.model, pipelines=self.pipelines, stand_in_for=self.stand_in_for)


@cache
def shipped() -> Mapping[str, Table]:
    """Every table of this package, by name."""
    entries = files("mflux_teacache.strategies.magcache").joinpath("tables").iterdir()
    found = [_parse(entry.read_text("utf-8"), entry.name) for entry in entries if entry.name.endswith(".json")]
    return {table.name: table for table in sorted(found, key=lambda table: table.name)}


def load(name_or_path: str) -> Table:
    """A shipped table by name, or a file of one's own.

    Args:
        name_or_path: a name of ``shipped()``; anything that ends in ``.json`` or contains a path separator
            is a file.

    Raises:
        OptionError: no such name, or a file that cannot be read or is not a table.
    """
    if name_or_path in shipped():
        return shipped()[name_or_path]
    if not (name_or_path.endswith(".json") or os.sep in name_or_path):
        raise OptionError(
            f"MagCache has no table {name_or_path!r}. It has: {', '.join(shipped())}. "
            f"A file of your own is named by its path, such as ./{name_or_path}.json."
        )
    try:
        content = Path(name_or_path).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"MagCache cannot read the table {name_or_path}: {error}. Give the path of a UTF-8 JSON file, "
            f"or one of the names {', '.join(shipped())}."
        ) from error
    return _parse(content, name_or_path)


def find(target: Target) -> Table:
    """The shipped table that is nearest to a target.

    Raises:
        Refused: none was made for its model, nor for a model that it shares the transformer with.
    """
    near = [(away, name) for name, table in shipped().items() if (away := table.distance(target)) is not None]
    if not near:
        raise Refused(
            f"MagCache has no table for {target.model or 'a model without a name'} ({target.pipeline}). "
            f"It has: {', '.join(table.model for table in shipped().values())}. Use --plugin easycache, taylorseer or "
            f"first-block-cache, which need none; or --magcache-table with a name or a file of your own."
        )
    return shipped()[min(near)[1]]


def _parse(content: str, where: str) -> Table:
    """A table from the text of a file; ``where`` is for messages."""
    try:
        data = json.loads(content)
    except ValueError as error:
        raise OptionError(f"The table {where} is not JSON: {error}. Compare it with a shipped one.") from error
    if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
        raise OptionError(
            f'The table {where} is not a JSON object with "schema": {SCHEMA}, the only one that this version reads. '
            f"Write it anew, or upgrade mflux-teacache-plugin."
        )
    _check_fields(data, where)
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    return Table(**values)


def _check_fields(data: dict[str, Any], where: str) -> None:
    defaults = {field.name: field.default for field in fields(Table)}
    missing = [name for name, default in defaults.items() if default is MISSING and name not in data]
    unknown = [name for name in data if name not in defaults]
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"has the unknown fields {', '.join(unknown)}"
        raise OptionError(f"The table {where} {what}. Its fields are schema, {', '.join(defaults)}.")
    for name, value in data.items():
        allowed, what = _ALLOWED[name]
        if not (allowed(value) or (value is None and defaults[name] is None)):
            raise OptionError(f"The table {where} has {name} = {value!r}; it must be {what}.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_list_of(allowed: Callable[[Any], bool], at_least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= at_least and all(map(allowed, value))


_TEXT = (_is_text, "text")

# What a file may say in each field of Table.
_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": _TEXT,
    "model": _TEXT,
    "pipelines": (_is_list_of(_is_text, at_least=1), "a list of class names, at least one"),
    "ratios": (_is_list_of(lambda x: _is_number(x) and x > 0, at_least=2), "a list of numbers above 0, at least two"),
    "threshold": (lambda value: _is_number(value) and value >= 0, "a number from 0"),
    "skip_first": (is_window, "steps from 0, or a fraction between 0 and 1"),
    "max_skips": (_is_count, "a whole number from 0"),
    "source": _TEXT,
    "stand_in_for": (_is_list_of(_is_text), "a list of model ids"),
    "always": (_is_list_of(_is_count), "a list of steps from 0"),
    "license": _TEXT,
    "note": _TEXT,
}
