"""What an image records of each of its steps: numbers, thresholds, reasons and times. Optional, small, and bounded.

It stands in the record under ``steps``, as columns with one entry per step. A column of which nothing is known is
missing::

    "steps": {
      "forced": [0, 11],                        the steps that a rule computed
      "prediction": [null, 0.11, ...],          as in StepRecord, to six digits; null = unknown or not finite
      "reasons": ["first steps", ...],          each once,
      "reason": [0, 1, ...]                     and which of them a step has; null = none
    }
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.option_types import Allowed, is_drawn, is_list_of, is_text
from mflux_teacache.records import Outcome, StepRecord
from mflux_teacache.spelling import brief, shortened

FORCED = "forced"
REASONS = "reasons"
REASON = "reason"
SECONDS = "seconds"
NUMBERS = ("sigma", "change", "prediction", "running_sum", "threshold", SECONDS)

# Characters of JSON. 50 steps take about 2000, and an image as JPEG has 64 kB for all of its metadata.
MOST = 16_000
LONGEST_REASON = 100

_OUTCOMES: Mapping[str, Outcome] = {"C": "computed", "S": "skipped", "P": "partial"}


def as_json(records: Sequence[StepRecord]) -> dict[str, Any]:
    """The columns; empty if there are none, or if they would take too much room."""
    columns: dict[str, Any] = {name: [_rounded(getattr(record, name)) for record in records] for name in NUMBERS}
    texts = [shortened(record.reason, LONGEST_REASON) for record in records]
    places = {text: place for place, text in enumerate(dict.fromkeys(filter(None, texts)))}
    columns[FORCED] = [place for place, record in enumerate(records) if record.decision == "forced"]
    columns[REASON] = [places.get(text) for text in texts]
    known = {name: column for name, column in columns.items() if any(value is not None for value in column)}
    made = {**known, **({REASONS: list(places)} if places else {})}
    return made if len(json.dumps(made)) <= MOST else {}


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.6g}") if is_drawn(value) else None


def parse(where: str, table: Any, pattern: str, partly: Mapping[int, str]) -> tuple[StepRecord, ...]:
    """One record per step of a pattern; of a record without numbers (``table`` is empty) with outcomes alone.

    Args:
        where: what the table is called in a message.
        partly: the branches of the partly reused steps.

    Raises:
        OptionError: the table is not one that ``as_json`` makes of so many steps.
    """
    if not isinstance(table, dict):
        raise OptionError(f"{where} is {brief(table)}, and must be an object. Leave it out to see the outcomes alone.")
    steps = range(len(pattern))
    allowed = _allowed(len(pattern), table.get(REASONS, []))
    for name, value in table.items():
        if name in allowed and not allowed[name].test(value):
            raise OptionError(
                f"{where}.{name} is {brief(value)}, and it must be {allowed[name].words}. Leave out {where} to see the "
                f"outcomes alone."
            )
    forced, reasons = set(table.get(FORCED, [])), [*table.get(REASONS, []), ""]
    return tuple(
        StepRecord(
            index=step,
            decision="forced" if step in forced and pattern[step] == "C" else _OUTCOMES[pattern[step]],
            branches=partly.get(step, ""),
            reason=reasons[-1 if (number := _at(table, REASON, step)) is None else number],
            **{name: _at(table, name, step) for name in NUMBERS},
        )
        for step in steps
    )


def _at(table: Mapping[str, Any], column: str, step: int) -> Any:
    return table[column][step] if column in table else None


def _allowed(steps: int, reasons: Any) -> dict[str, Allowed]:
    """What each column may hold. Unknown ones are of a later version, and no matter."""

    def column(test: Any, words: str) -> Allowed:
        each = is_list_of(lambda value: value is None or test(value), steps, steps)
        return Allowed(each, f"a list of {steps}, each {words} or null")

    texts = reasons if isinstance(reasons, list) else []
    return {
        **dict.fromkeys(NUMBERS, column(is_drawn, "a number up to 1e100")),
        SECONDS: column(lambda value: is_drawn(value) and value >= 0, "a number from 0"),
        REASONS: Allowed(is_list_of(is_text, at_most=steps), f"a list of at most {steps} texts"),
        REASON: column(lambda value: type(value) is int and 0 <= value < len(texts), f"the place of one of {REASONS}"),
        FORCED: Allowed(
            is_list_of(lambda value: type(value) is int and 0 <= value < steps), f"a list of steps below {steps}"
        ),
    }
