"""The demo's picture, drawn from made-up runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from mflux_teacache.demo import palette, picture
from mflux_teacache.records import StepRecord

RED, GREY = (200, 30, 30), (90, 90, 90)


def image(colour: tuple[int, int, int]) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (128, 128), colour)


def records(pattern: str, *, change: float | None = 0.05, threshold: float | None = 0.1) -> list[StepRecord]:
    return [
        StepRecord(
            index=index,
            sigma=None,
            decision="skipped" if letter == "S" else "computed",
            change=change,
            running_sum=change,
            threshold=threshold,
        )
        for index, letter in enumerate(pattern)
    ]


def drawn(
    path: Path, steps: list[StepRecord], cached: PIL.Image.Image | None = None, title: str = "a circle"
) -> np.ndarray:
    picture.draw(
        path,
        title=title,
        plain=image(RED),
        plain_label="plain",
        cached=cached or image(RED),
        cached_label="teacache",
        records=steps,
    )
    with PIL.Image.open(path) as png:
        assert png.format == "PNG"
        return np.asarray(png.convert("RGB")).astype(int)


def panels(pixels: np.ndarray, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Left and right edge of each run of columns with much of a colour."""
    much = (np.abs(pixels - colour).max(axis=2) <= 2).sum(axis=0) > 300
    edges = np.flatnonzero(np.diff(np.concatenate([[0], much.astype(int), [0]])))
    return [(int(left), int(right)) for left, right in edges.reshape(-1, 2)]


def count(pixels: np.ndarray, hexadecimal: str) -> int:
    colour = [int(hexadecimal[place : place + 2], 16) for place in (1, 3, 5)]
    return int((np.abs(pixels - colour).max(axis=2) == 0).sum())


def test_three_panels_of_one_size_stand_side_by_side(tmp_path: Path) -> None:
    cached = image((RED[0] - 20, RED[1] + 20, RED[2]))
    pixels = drawn(tmp_path / "demo.png", records("CSSC"), cached)
    assert pixels.shape == (1320, 1600, 3)
    [plain] = panels(pixels, RED)
    [reused] = panels(pixels, (180, 50, 30))
    [difference] = panels(pixels, (200, 200, 0))  # 20 times 10, the largest factor under 256
    widths = [right - left for left, right in (plain, reused, difference)]
    assert max(widths) - min(widths) <= 1
    assert widths[0] > 450
    assert plain[1] < reused[0] < reused[1] < difference[0]


def test_the_timeline_has_a_cell_in_its_colour_for_each_step(tmp_path: Path) -> None:
    blue, yellow = palette.COMPUTED["facecolor"], palette.SKIPPED["facecolor"]
    half = drawn(tmp_path / "half.png", records("CSCSCSCSCS", change=None, threshold=None))
    assert count(half, blue) == pytest.approx(count(half, yellow), rel=0.1)
    assert count(half, blue) > 5000
    none = drawn(tmp_path / "none.png", records("CCCCCCCCCC", change=None, threshold=None))
    # What is left is the legend's sample.
    assert count(none, yellow) < count(half, yellow) / 3
    assert count(none, blue) > 1.5 * count(half, blue)


def test_the_threshold_is_drawn_where_the_plugin_has_one(tmp_path: Path) -> None:
    line = "#B3003B"
    assert count(drawn(tmp_path / "with.png", records("CSSC")), line) > 500
    assert count(drawn(tmp_path / "without.png", records("CSSC", threshold=None)), line) == 0


def test_many_steps_and_a_long_title_still_fit(tmp_path: Path) -> None:
    pixels = drawn(tmp_path / "long.png", records("CS" * 100), title="a large red striped circle " * 8)
    assert pixels.shape == (1320, 1600, 3)
    border = np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3), pixels[:, -4:].reshape(-1, 3)])
    assert (border == 255).all()


@pytest.mark.parametrize(
    ("off_by", "factor"), [(0, 100), (1, 100), (2, 100), (3, 50), (26, 5), (127, 2), (128, 1), (165, 1)]
)
def test_an_even_difference_does_not_clip(off_by: int, factor: int) -> None:
    difference, used = picture.amplified_difference(image(GREY), image((90 + off_by, 90, 90)))
    assert used == factor
    assert np.asarray(difference).reshape(-1, 3).max(axis=0).tolist() == [off_by * factor, 0, 0]


def test_a_few_outliers_clip() -> None:
    cached = image((91, 91, 91))
    cached.putpixel((3, 4), (255, 90, 90))
    difference, used = picture.amplified_difference(image(GREY), cached)
    assert used == 100
    assert difference.getpixel((3, 4)) == (255, 0, 0)
    assert difference.getpixel((4, 4)) == (100, 100, 100)


def test_psnr_by_hand() -> None:
    assert picture.psnr(image(GREY), image(GREY)) == math.inf
    # One channel of three off by 3: mean square 3, 10 log10(65025 / 3).
    assert picture.psnr(image(GREY), image((93, 90, 90))) == pytest.approx(43.3596, abs=1e-4)
