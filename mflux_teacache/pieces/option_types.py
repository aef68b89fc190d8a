"""What a value may be: types of plugins' options, for ``add_argument(type=...)``, and of fields in JSON files."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from mflux_teacache.errors import OptionError
from mflux_teacache.spelling import brief, shortened

Test = Callable[[Any], bool]
Value = TypeVar("Value")

# A path has 4096 characters at most; notes and prompts are shorter than that.
LONGEST_TEXT = 10_000
LONGEST_NAME = 200  # messages show it, and images record it

LARGEST = 1e100  # of numbers that are drawn: their sums, and the ranges of axes, are finite too
LARGEST_SEED = 2**64 - 1  # of mlx's keys
LARGEST_COUNT = 1_000_000  # of steps, pixels and images in a file; JSON has whole numbers of any length


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


def is_drawn(value: Any) -> bool:
    """Whether a value is a number that figures and pictures can be made of."""
    return is_number(value) and abs(value) <= LARGEST


def is_amount(value: Any) -> bool:
    return is_number(value) and value >= 0


def is_count_from(least: int, most: float = math.inf) -> Test:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_list_of(test: Test, at_least: int = 0, at_most: float = math.inf) -> Test:
    return lambda value: isinstance(value, list) and at_least <= len(value) <= at_most and all(map(test, value))


def is_table_of(test: Test) -> Test:
    return lambda value: isinstance(value, dict) and all(map(test, value.values()))


def is_pair_of(test: Test) -> Test:
    return lambda value: is_list_of(test)(value) and len(value) == 2


# --- Fields of JSON files ---------------------------------------------------------------------------------------------


def whole_number_from(least: int, most: int = LARGEST_COUNT) -> Allowed:
    return Allowed(is_count_from(least, most), f"a whole number from {least} to {most}")


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


# What a field may hold if its dataclass gives only a type. Whether it may be null is told by its default.
OF_TYPE: Mapping[str, Allowed] = {"str": TEXT, "float": NUMBER, "int": whole_number_from(1), "bool": BOOLEAN}


def tests_of(record: type, allowed: Mapping[str, Allowed]) -> Mapping[str, Allowed]:
    """What each field of a dataclass may hold: as ``allowed`` says, else what its type allows."""
    types = {field.name: _type_of(field) for field in fields(record)}
    by_type = {name: OF_TYPE[kind] for name, kind in types.items() if kind in OF_TYPE}
    return {**by_type, **{name: test for name, test in allowed.items() if name in types}}


def check_fields(
    record: type, data: Mapping[str, Any], what: str, tests: Mapping[str, Allowed], also: tuple[str, ...] = ()
) -> None:
    """Refuse an object that lacks a field, has an unknown one, or holds what is not allowed.

    Args:
        record: a field of this dataclass without a default is required; one whose default is ``None`` may be null.
        what: the object, at the beginning of a message.
        tests: what each field may hold, as ``tests_of`` has it.
        also: further fields that were read already, for the message.

    Raises:
        OptionError: it says which field, what it holds, and what is allowed.
    """
    defaults = {field.name: _default(field) for field in fields(record)}
    missing = [name for name, default in defaults.items() if default is MISSING and name not in data]
    unknown = [name for name in data if name not in defaults]
    if missing or unknown:
        problem = (
            f"lacks {', '.join(missing)}" if missing else f"has the unknown fields {shortened(', '.join(unknown), 200)}"
        )
        raise OptionError(f"{what} {problem}. Its fields are {', '.join((*also, *defaults))}.")
    for name, value in data.items():
        test, words = tests[name]
        nullable = defaults[name] is None
        if not (test(value) or (value is None and nullable)):
            raise OptionError(
                f"{what} has {name} = {brief(value)}; it must be {words}{' or null' if nullable else ''}."
            )


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _type_of(field: Field[Any]) -> str:
    """The name of a field's type, without ``| None``."""
    # A string under ``from __future__ import annotations``, and the type itself in a module without it.
    return getattr(field.type, "__name__", str(field.type)).removesuffix(" | None")


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


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def file_path(text: str) -> Path:
    """A path, in which ``~`` stands for the user's home.

    Raises:
        argparse.ArgumentTypeError: it is an address, or there is no user of the name in ``~name``.
    """
    if _ADDRESS.match(text):  # as a path it would lose a slash, and nobody would know it again
        raise argparse.ArgumentTypeError(
            f"{brief(text)} is an address, and a file of this machine is needed. Download it first, and name that file"
        )
    try:
        return Path(text).expanduser()  # no shell expands the ~ in ``--option=~/file``
    except (RuntimeError, ValueError) as error:  # the latter for a user name with a NUL
        raise argparse.ArgumentTypeError(f"{text!r} begins with the home of a user who is not known here") from error
