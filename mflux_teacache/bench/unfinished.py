"""A comparison that was cut off, and goes on from the JSON file that it left. No mlx.

Ctrl-C, a crash or a kill leaves what was drawn until then. The file says itself what was asked: only the same question
goes on from it, and no other one overwrites it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mflux_teacache.bench.runs import Case, JudgedRun
from mflux_teacache.errors import OptionError, PluginWarning
from mflux_teacache.pieces.input_files import Unreadable, parse_json, read_text, reason
from mflux_teacache.pieces.output_files import replace_file
from mflux_teacache.spelling import brief

MOST_BYTES = 500_000_000  # a million images
_SHOWN = 6  # differences in a message


def drawn(path: Path, question: Mapping[str, Any]) -> list[JudgedRun]:
    """The images in the file that a run of the same question has left; none if it was finished, or there is no such.

    Args:
        question: all that the images depend on, as JSON has it.

    Raises:
        OptionError: it holds an unfinished run of something else, or one that cannot be read.
    """
    content = _unfinished(path)
    if content is None:
        return []
    asked = json.loads(json.dumps(question))
    if different := list(_differences({name: content.get(name) for name in asked}, asked)):
        more = f" (and {len(different) - _SHOWN} more)" if len(different) > _SHOWN else ""
        raise OptionError(
            f"--json is {path}, which holds an unfinished run of something else: {'; '.join(different[:_SHOWN])}"
            f"{more}. Go on with its own command, give --json another name, or delete {path}."
        )
    try:
        return list(map(run_of, [*content["runs"], *content["fewer_steps"]["runs"]]))
    except (KeyError, TypeError) as error:
        raise OptionError(
            f"--json is {path}, which holds an unfinished run that cannot be read. Delete it, or give another name."
        ) from error


def keep(path: Path, content: bytes) -> None:
    """Write what there is so far. A pipe gets the whole once, in the end.

    If the system does not let it, a warning says so, and the run goes on: its end tries again.
    """
    if path.exists() and not path.is_file():
        return
    try:
        replace_file(path, content)
    except OSError as error:
        warnings.warn(
            f"--json is {path}, which could not be written: {reason(error)}. The run goes on, and tries again.",
            PluginWarning,
            stacklevel=2,
        )


def _unfinished(path: Path) -> dict[str, Any] | None:
    try:
        content = parse_json(read_text(path, MOST_BYTES))
    except (Unreadable, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and content.get("interrupted") is True else None


def run_of(entry: Mapping[str, Any]) -> JudgedRun:
    """An image from what JSON has of it; raises ``KeyError`` or ``TypeError`` where it is none."""
    run = JudgedRun(**{**entry, "case": Case(**entry["case"])})
    if not all(isinstance(value, int | float) for value in (run.computed, run.squared_error, run.ssim)):
        raise TypeError("a figure is no number")
    return run


def _differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """What differs, in words: field by field, and of lists what only one of them has."""
    if there == here:
        return
    if isinstance(there, dict) and isinstance(here, dict):
        for field in {**here, **there}:
            yield from _differences(there.get(field), here.get(field), f"{name}.{field}".removeprefix("."))
    elif isinstance(there, list) and isinstance(here, list):
        only_there, only_here = (
            [item for item in one if item not in other] for one, other in ((there, here), (here, there))
        )
        yield f"{name}: {brief(only_there)} only there, {brief(only_here)} only here"
    else:
        yield f"{name} is {brief(there)} there and {brief(here)} here"
