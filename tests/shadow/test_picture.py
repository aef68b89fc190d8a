"""A shadow run's picture, drawn from made-up rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from matplotlib.axes import Axes

from mflux_teacache.pieces.output_files import png_of
from mflux_teacache.shadow import picture
from mflux_teacache.shadow.report import Report, Row

pytestmark = pytest.mark.slow

FAST = Row("teacache", 0.2, (None, 0.01, 0.1, None, 0.02, 0.2))
SLOW = Row("teacache", 0.1, (None, 0.01, None, None, 0.02, None))
OTHER = Row("first-block-cache", 0.08, (None, 0.03, None, 0.03, None, None))
STILL = Row("easycache", 0.1, (None,) * 6)


def drawn(path: Path, *rows: Row) -> np.ndarray:
    path.write_bytes(png_of(picture.drawn(Report(rows, {}))))
    with PIL.Image.open(path) as png:
        assert png.format == "PNG"
        return np.asarray(png.convert("RGB")).astype(int)


def count(pixels: np.ndarray, hexadecimal: str) -> int:
    colour = [int(hexadecimal[place : place + 2], 16) for place in (1, 3, 5)]
    return int((np.abs(pixels - colour).max(axis=2) <= 1).sum())


def labels(axis: Any) -> list[str]:
    low, high = sorted(axis.get_view_interval())
    return [label.get_text() for label in axis.get_ticklabels() if low <= label.get_position()[1] <= high]


@given(low=st.floats(1e-4, 1e3), factor=st.floats(1, 1e6))
def test_whatever_the_errors_are_three_to_ten_ticks_can_be_read(low: float, factor: float) -> None:
    low, high = picture._span([low, low * factor])
    ticks = picture._ticks(low, high)
    assert 3 <= len(ticks) <= 10
    assert all(low <= tick <= high for tick in ticks)
    assert len({f"{100 * tick:.6g}" for tick in ticks}) == len(ticks)


def test_both_logarithmic_axes_say_so_and_have_ticks(tmp_path: Path, axes: list[Axes]) -> None:
    drawn(tmp_path / "a.png", SLOW, FAST)
    errors, _, colours = axes
    assert (errors.get_yscale(), colours.get_yscale()) == ("log", "log")
    for axis in (errors.yaxis, colours.yaxis):
        assert "logarithmic" in axis.get_label_text()
        assert len(labels(axis)) >= 3
    assert labels(colours.yaxis) == ["1%", "2%", "5%", "10%", "20%"]


@pytest.mark.parametrize(
    ("row", "mean"),
    [
        (Row("teacache", 0.2, (None, 0.05, 0.07, None)), 0.06),
        (Row("teacache", 0.2, (None, 0.0, 0.0, None)), 1e-4),
        (Row("teacache", 0.2, (None, math.nan, 0.1, None)), 1.0),
    ],
)
def test_a_strategy_that_skips_has_its_point_on_the_axis(
    row: Row, mean: float, tmp_path: Path, axes: list[Axes]
) -> None:
    drawn(tmp_path / "a.png", row, Row("easycache", 0.2, (None,) * 4))
    line, nothing = axes[0].lines[:2]
    assert line.get_xydata().tolist() == [[2, pytest.approx(mean)]]
    assert (line.get_label(), nothing.get_label()) == ("teacache", "easycache (skips nothing)")
    low, high = axes[0].get_ylim()
    assert low < mean < high
    assert len(labels(axes[0].yaxis)) >= 3


def test_what_lies_below_the_axis_is_told(tmp_path: Path, axes: list[Axes]) -> None:
    drawn(tmp_path / "a.png", Row("teacache", 0.2, (None, 0.0, 0.2, None)))
    assert labels(axes[2].yaxis)[0] == "up to 0.01%"


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


def test_lines_between_very_many_steps_do_not_hide_them() -> None:
    def parted(steps: int) -> int:
        return len(picture.drawn(Report([Row("teacache", 0.1, (None, 0.1) * (steps // 2))], {})).axes[1].lines)

    assert (parted(200), parted(202)) == (201, 0)
