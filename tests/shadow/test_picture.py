"""A shadow run's picture, drawn from made-up rows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from mflux_teacache.shadow import picture
from mflux_teacache.shadow.report import Report, Row

FAST = Row("teacache", 0.2, (None, 0.01, 0.1, None, 0.02, 0.2))
SLOW = Row("teacache", 0.1, (None, 0.01, None, None, 0.02, None))
OTHER = Row("first-block-cache", 0.08, (None, 0.03, None, 0.03, None, None))
STILL = Row("easycache", 0.1, (None,) * 6)


def drawn(path: Path, *rows: Row) -> np.ndarray:
    picture.draw(path, Report(rows, {}))
    with PIL.Image.open(path) as png:
        assert png.format == "PNG"
        return np.asarray(png.convert("RGB")).astype(int)


def count(pixels: np.ndarray, hexadecimal: str) -> int:
    colour = [int(hexadecimal[place : place + 2], 16) for place in (1, 3, 5)]
    return int((np.abs(pixels - colour).max(axis=2) <= 1).sum())


def test_each_strategy_has_a_line_of_its_colour(tmp_path: Path) -> None:
    pixels = drawn(tmp_path / "a.png", SLOW, FAST, OTHER)
    (blue, _), (orange, _), (green, _), *_ = picture._STYLES
    # A line and its points are more than the legend's sample and one point.
    assert count(pixels, blue) > 1.5 * count(pixels, orange) > 0
    assert count(pixels, green) == 0


def test_computed_steps_stay_pale(tmp_path: Path) -> None:
    many = count(drawn(tmp_path / "many.png", OTHER, OTHER), picture._COMPUTED)
    few = count(drawn(tmp_path / "few.png", FAST, FAST), picture._COMPUTED)
    # 4 of 6 steps and 2 of 6
    assert many == pytest.approx(2 * few, rel=0.15)


def test_a_row_more_makes_it_higher_and_nothing_leaves_it(tmp_path: Path) -> None:
    short, tall = drawn(tmp_path / "short.png", SLOW), drawn(tmp_path / "tall.png", *[FAST, OTHER] * 15)
    assert short.shape[1] == tall.shape[1] == 1440
    assert tall.shape[0] - short.shape[0] == pytest.approx(29 * 0.2 * 160, abs=2)
    for pixels in (short, tall):
        border = np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3), pixels[:, -4:].reshape(-1, 3)])
        assert (border == 255).all()


def test_rows_that_skip_nothing_or_went_wrong_are_drawn(tmp_path: Path) -> None:
    drawn(tmp_path / "still.png", STILL)
    drawn(tmp_path / "exact.png", Row("teacache", None, (None, 0.0, 0.0)))
    drawn(tmp_path / "nan.png", STILL, Row("teacache", 0.2, (None, math.nan, 0.1, math.inf, None, None)))
