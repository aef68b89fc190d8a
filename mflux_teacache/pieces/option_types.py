"""Types for plugins' options: give them to ``add_argument(type=...)``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path


def _number_type(allowed: Callable[[float], bool], words: str) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan  # which is in no range
        if not allowed(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
        return value

    return number


# Numbers in a range. Like all types here, they raise ``argparse.ArgumentTypeError`` for anything else.
threshold = _number_type(lambda value: 0 <= value < math.inf, "a finite number from 0, such as 0.2")
factor = _number_type(lambda value: 1 <= value < math.inf, "a finite number from 1, such as 1.6")
fraction = _number_type(lambda value: 0 < value < 1, "a number between 0 and 1, such as 0.5")


def count_from(least: int, example: int | None = None) -> Callable[[str], int]:
    """The type of whole numbers from ``least``."""

    def at_least(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            shown = least + 1 if example is None else example
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}, such as {shown}")
        return value

    return at_least


count = count_from(0, example=8)


def window(text: str) -> float:
    """Steps (``int`` from 0), or a fraction of the run (``float`` between 0 and 1)."""
    for kind in (int, float):
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


def is_window(value: object) -> bool:
    """Whether a value is what ``window`` gives."""
    if isinstance(value, float):
        return 0 < value < 1
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def file_path(text: str) -> Path:
    """A path; ``~`` is the user's home, which no shell puts into ``--option=~/file``.

    Raises:
        argparse.ArgumentTypeError: ``~name`` of nobody here.
    """
    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError) as error:  # the latter of a name that nobody can have
        raise argparse.ArgumentTypeError(f"{text!r} begins with the home of a user who is not known here") from error
