"""Types for plugins' options: give them to ``add_argument(type=...)``."""

from __future__ import annotations

import argparse
import math


def threshold(text: str) -> float:
    """A finite number from 0.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number from 0, such as 0.2")
    return value


def count(text: str) -> int:
    """A whole number from 0; raises as ``threshold`` does."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0, such as 8")
    return value
