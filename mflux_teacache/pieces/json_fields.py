"""JSON from files that may come from anywhere: parsed in bounded time, and what a field may hold. No mlx."""

from __future__ import annotations

import json
import math
import reprlib
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

Test = Callable[[Any], bool]

# The largest float has 309 digits. Python takes time that grows with the square of their number, and from some number
# on refuses, also to print them.
MOST_DIGITS = 1000

# A path has 4096 characters at most; notes and prompts are shorter than that.
LONGEST_TEXT = 10_000
LONGEST_NAME = 200  # messages show it, and images record it

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 200
brief = _brief.repr  # a value as messages show it: whole if it is short, and never long


class Allowed(NamedTuple):
    """Values that a field may have.

    Attributes:
        test: whether a value is one of them.
        words: what they are, after "it must be".
    """

    test: Test
    words: str


def parse_json(text: str) -> Any:
    """The value that a JSON text holds.

    Raises:
        ValueError: it is not JSON, has a whole number of more than 1000 digits, or gives a field twice.
        RecursionError: it is nested deeper than Python can follow.
    """
    return json.loads(text, parse_int=_whole_number, object_pairs_hook=_table)


def levels(value: Any) -> int:
    """How deeply lists and objects are nested in a value; 0 for a plain one."""
    found, level = 0, [value]
    while level := [entry for entry in level if isinstance(entry, dict | list)]:
        found += 1
        level = [inner for entry in level for inner in (entry.values() if isinstance(entry, dict) else entry)]
    return found


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"it has a whole number of {len(digits)} digits, and at most {MOST_DIGITS} are read")
    return int(digits)


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a field that is given twice, programs take the first or the last: a reader would see another file than we."""
    table = dict(pairs)
    if len(table) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"it has {brief(twice)} twice in one object")
    return table


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= LONGEST_TEXT


def is_number(value: Any) -> bool:
    """What a float can hold: Python's JSON knows NaN, Infinity and whole numbers of any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_amount(value: Any) -> bool:
    return is_number(value) and value >= 0


def is_count_from(least: int) -> Test:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_list_of(test: Test, at_least: int = 0, at_most: float = math.inf) -> Test:
    return lambda value: isinstance(value, list) and at_least <= len(value) <= at_most and all(map(test, value))


def is_table_of(test: Test) -> Test:
    return lambda value: isinstance(value, dict) and all(map(test, value.values()))


def is_pair_of(test: Test) -> Test:
    return lambda value: is_list_of(test)(value) and len(value) == 2


def count_from(least: int) -> Allowed:
    return Allowed(is_count_from(least), f"a whole number from {least}")


def one_of(literal: Any) -> Allowed:
    """The words of a ``Literal``."""
    words = get_args(literal)
    return Allowed(lambda value: value in words, " or ".join(map(repr, words)))


NAME = Allowed(
    lambda value: is_text(value) and len(value) <= LONGEST_NAME, f"text of at most {LONGEST_NAME} characters"
)
TEXT = Allowed(is_text, f"text of at most {LONGEST_TEXT} characters")
NUMBER = Allowed(is_number, "a number")
AMOUNT = Allowed(is_amount, "a number from 0")
BOOLEAN = Allowed(lambda value: isinstance(value, bool), "true or false")
