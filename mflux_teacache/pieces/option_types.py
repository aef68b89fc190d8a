"""What a value may be: types of plugins' options, for ``add_argument(type=...)``, and of fields in JSON files."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

Test = Callable[[Any], bool]
Value = TypeVar("Value")

# A path has 4096 characters at most; notes and prompts are shorter than that.
LONGEST_TEXT = 10_000
LONGEST_NAME = 200  # messages show it, and images record it


class Allowed(NamedTuple):
    """The values that an option or a field may have.

    Attributes:
        test: tells whether a value is one of them.
        words: describes them; a message puts this after "it must be".
    """

    test: Test
    words: str


def is_window(value: object) -> bool:
    """Whether a value is one that ``window`` returns."""
    if isinstance(value, float):  # 1.0 is refused: whether one step or the whole run is meant, nobody can tell
        return 0 < value < 1
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= LONGEST_TEXT


def is_number(value: Any) -> bool:
    """Whether a value is a number that a float can hold."""
    # Python's JSON also reads NaN, Infinity and whole numbers of any length. NaN fails every comparison.
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


# --- Fields of JSON files ---------------------------------------------------------------------------------------------


def whole_number_from(least: int) -> Allowed:
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


# --- Options: all raise ``argparse.ArgumentTypeError`` for anything else ----------------------------------------------


def _type(kind: Callable[[str], Value], allowed: Allowed) -> Callable[[str], Value]:
    def read(text: str) -> Value:
        try:
            value = kind(text)
        except ValueError:  # argparse's own message for it would not say what is allowed
            value = None
        if value is None or not allowed.test(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {allowed.words}")
        return value

    return read


threshold = _type(float, Allowed(lambda value: 0 <= value < math.inf, "a finite number from 0, such as 0.2"))
factor = _type(float, Allowed(lambda value: 1 <= value < math.inf, "a finite number from 1, such as 1.6"))
seconds = _type(float, Allowed(lambda value: 0 < value < math.inf, "a finite number above 0, such as 20"))
fraction = _type(float, Allowed(lambda value: 0 < value < 1, "a number between 0 and 1, such as 0.5"))


def count_from(least: int, example: int | None = None) -> Callable[[str], int]:
    """The type of whole numbers from ``least``."""
    shown = least + 1 if example is None else example
    return _type(int, Allowed(is_count_from(least), f"a whole number from {least}, such as {shown}"))


count = count_from(0, example=8)


def window(text: str) -> float:
    """Steps (``int`` from 0), or a fraction of the run (``float`` between 0 and 1)."""
    for kind in (int, float):  # in this order, since "3" would be a float too
        try:
            value = kind(text)
        except ValueError:
            continue
        if is_window(value):
            return value
    raise argparse.ArgumentTypeError(
        f"{text!r} is neither a number of steps from 0, such as 3, "
        f"nor a fraction of the run between 0 and 1, such as 0.2"
    )


def file_path(text: str) -> Path:
    """A path, in which ``~`` stands for the user's home.

    Raises:
        argparse.ArgumentTypeError: there is no user of the name in ``~name``.
    """
    try:
        return Path(text).expanduser()  # no shell expands the ~ in ``--option=~/file``
    except (RuntimeError, ValueError) as error:  # the latter for a user name with a NUL
        raise argparse.ArgumentTypeError(f"{text!r} begins with the home of a user who is not known here") from error
