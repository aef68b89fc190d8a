"""What a field of a JSON file may hold: a test of its value, and words for it. No mlx."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

Test = Callable[[Any], bool]


class Allowed(NamedTuple):
    """Values that a field may have.

    Attributes:
        test: whether a value is one of them.
        words: what they are, after "it must be".
    """

    test: Test
    words: str


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_number(value: Any) -> bool:
    """What a float can hold: Python's JSON knows NaN, Infinity and whole numbers of any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_amount(value: Any) -> bool:
    return is_number(value) and value >= 0


def is_count_from(least: int) -> Test:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_list_of(test: Test, at_least: int = 0) -> Test:
    return lambda value: isinstance(value, list) and len(value) >= at_least and all(map(test, value))


def is_pair_of(test: Test) -> Test:
    return lambda value: is_list_of(test)(value) and len(value) == 2


def count_from(least: int) -> Allowed:
    return Allowed(is_count_from(least), f"a whole number from {least}")


def one_of(literal: Any) -> Allowed:
    """The words of a ``Literal``."""
    words = get_args(literal)
    return Allowed(lambda value: value in words, " or ".join(map(repr, words)))


TEXT = Allowed(is_text, "text")
NUMBER = Allowed(is_number, "a number")
AMOUNT = Allowed(is_amount, "a number from 0")
BOOLEAN = Allowed(lambda value: isinstance(value, bool), "true or false")
CLASS_NAMES = Allowed(is_list_of(is_text, at_least=1), "a list of class names, at least one")
MODEL_IDS = Allowed(is_list_of(is_text), "a list of model ids")
