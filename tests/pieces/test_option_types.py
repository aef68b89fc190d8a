"""The types of options: what they give, and what they refuse."""

import argparse
import math

import pytest

from mflux_teacache.pieces.option_types import count, count_from, factor, fraction, is_window, threshold, window


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (threshold, "0", 0.0),
        (threshold, "0.25", 0.25),
        (count, "0", 0),
        (count, "8", 8),
        (count_from(2), "2", 2),
        (fraction, "0.5", 0.5),
        (factor, "1", 1.0),
        (factor, "1.6", 1.6),
        (window, "3", 3),
        (window, "0", 0),
        (window, "0.2", 0.2),
    ],
)
def test_allowed(kind, text, value):
    found = kind(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "texts", "message"),
    [
        (threshold, ["-0.1", "nan", "inf", "high", ""], "is not a finite number from 0"),
        (count, ["-1", "1.5", "many", ""], "is not a whole number from 0, such as 8"),
        (count_from(2), ["1", "-1", "2.5", "all"], "is not a whole number from 2, such as 3"),
        (fraction, ["0", "1", "1.5", "nan", "half"], "is not a number between 0 and 1"),
        (factor, ["0.9", "-2", "nan", "inf", "fast"], "is not a finite number from 1, such as 1.6"),
        (window, ["-1", "1.0", "1.5", "0.0", "nan", "some"], "is neither a number of steps from 0, .* nor a fraction"),
    ],
)
def test_refused(kind, texts, message):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=f"^'{text}' {message}"):
            kind(text)


@pytest.mark.parametrize(
    ("value", "allowed"), [(0, True), (3, True), (0.2, True), (-1, False), (0.0, False), (1.0, False), (True, False)]
)
def test_windows(value, allowed):
    assert is_window(value) == allowed
    assert not is_window(math.nan)
