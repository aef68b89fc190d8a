"""Pictures of made-up runs: images, their difference, and their steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from matplotlib.axes import Axes

from mflux_teacache import drawing
from mflux_teacache.charts import comparison as picture
from mflux_teacache.pieces.output_files import png_of
from mflux_teacache.records import StepRecord

pytestmark = pytest.mark.slow

RED, GREY = (200, 30, 30), (90, 90, 90)


def image(colour: tuple[int, int, int]) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (128, 128), colour)


def records(pattern: str, **numbers: float | None) -> list[StepRecord]:
    """With the same numbers in each step, which nobody held against anything."""
    return [
        StepRecord(index=index, sigma=None, decision="skipped" if letter == "S" else "computed", **numbers)
        for index, letter in enumerate(pattern)
    ]


CHANGES = {"change": 0.05, "threshold": 0.1}


def summing(pattern: str, *predictions: float | None) -> list[StepRecord]:
    """As a strategy records them that adds predictions up since the last computed step; it knows none in the first."""
    made, total = [], 0.0
    for index, (letter, prediction) in enumerate(zip(pattern, predictions, strict=True)):
        running_sum = None if prediction is None else total + prediction
        skipped = letter == "S"
        made.append(
            StepRecord(
                index=index,
                sigma=None,
                decision="skipped" if skipped else "computed",
                change=9.0,
                prediction=prediction,
                running_sum=running_sum,
                threshold=0.1,
            )
        )
        total = running_sum or 0.0 if skipped else 0.0
    return made


def drawn(
    path: Path, steps: list[StepRecord], cached: PIL.Image.Image | None = None, title: str = "a circle"
) -> np.ndarray:
    panels = picture.compared(picture.Panel("plain", image(RED)), picture.Panel("teacache", cached or image(RED)))
    path.write_bytes(png_of(picture.drawn(title, [picture.Block(panels, steps)])))
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
    pixels = drawn(tmp_path / "demo.png", records("CSSC", **CHANGES), cached)
    assert pixels.shape == (1320, 1600, 3)
    [plain] = panels(pixels, RED)
    [reused] = panels(pixels, (180, 50, 30))
    [difference] = panels(pixels, (200, 200, 0))  # 20 times 10, the largest factor under 256
    widths = [right - left for left, right in (plain, reused, difference)]
    assert max(widths) - min(widths) <= 1
    assert widths[0] > 450
    assert plain[1] < reused[0] < reused[1] < difference[0]


def test_the_timeline_has_a_cell_in_its_colour_for_each_step(tmp_path: Path) -> None:
    blue, yellow = drawing.COMPUTED["facecolor"], drawing.SKIPPED["facecolor"]
    half = drawn(tmp_path / "half.png", records("CSCSCSCSCS"))
    assert count(half, blue) == pytest.approx(count(half, yellow), rel=0.1)
    assert count(half, blue) > 5000
    none = drawn(tmp_path / "none.png", records("CCCCCCCCCC"))
    assert count(none, yellow) == 0
    assert count(none, blue) > 1.5 * count(half, blue)


def legend(axes: Axes) -> list[str]:
    box = axes.get_legend()
    assert box is not None
    return [text.get_text() for text in box.get_texts()]


def bars(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches if hasattr(bar, "get_height")]


@pytest.mark.parametrize(
    ("pattern", "explained"),
    [("CSSC", ["computed (C)", "skipped (S)"]), ("CCCC", ["computed (C)"])],
)
def test_of_a_strategy_that_measures_nothing_only_the_decisions_are_drawn(
    pattern: str, explained: list[str], tmp_path: Path, axes: list[Axes]
) -> None:
    """Such as schedule, taylorseer and replay. A threshold that nothing is held against is nothing to draw either."""
    pixels = drawn(tmp_path / "a.png", records(pattern, threshold=0.1))
    [*images, decisions] = axes
    assert len(images) == 3
    assert legend(decisions) == explained
    assert [text.get_text() for text in decisions.texts] == list(pattern)
    assert (bars(decisions), len(decisions.lines)) == ([1.0] * 4, 0)
    assert pixels.shape[0] < 1000


def test_changes_are_drawn_against_their_threshold(tmp_path: Path, axes: list[Axes]) -> None:
    """As first-block-cache records them."""
    pixels = drawn(tmp_path / "a.png", records("CSSC", **CHANGES))
    numbers = axes[3]
    assert (bars(numbers), len(numbers.lines)) == ([0.05] * 4, 0)
    assert numbers.get_ylabel() == "measured change"
    assert legend(numbers) == ["computed (C)", "skipped (S)", "threshold 0.1"]
    assert count(pixels, drawing.LIMIT) > 500


def test_without_a_threshold_there_is_none(tmp_path: Path, axes: list[Axes]) -> None:
    pixels = drawn(tmp_path / "a.png", records("CSSC", change=0.05))
    assert legend(axes[3]) == ["computed (C)", "skipped (S)"]
    assert count(pixels, drawing.LIMIT) == 0


def test_the_sum_is_that_of_the_bars_and_falls_back_at_computed_steps(tmp_path: Path, axes: list[Axes]) -> None:
    predictions = (None, 0.03, 0.04, 0.05, 0.06, 0.07, None)
    drawn(tmp_path / "a.png", summing("CSSCSCC", *predictions))
    numbers = axes[3]
    assert np.array_equal(bars(numbers), np.array(predictions, float), equal_nan=True)
    assert numbers.get_ylabel() == "predicted change"
    assert legend(numbers) == [
        *("computed (C)", "skipped (S)"),
        *("sum since the last computed step", "threshold 0.1"),
    ]
    line, dots = numbers.lines
    nothing = math.nan
    expected = [(0, nothing), (0, 0), (1, 0.03), (2, 0.07), (3, 0.12), (3, 0)]
    expected += [(4, 0.06), (5, 0.13), (5, 0), (6, nothing), (6, 0)]
    assert np.allclose(line.get_xydata(), expected, equal_nan=True)
    assert np.allclose(dots.get_ydata(), [nothing, 0.03, 0.07, 0.12, 0.06, 0.13, nothing], equal_nan=True)
    assert numbers.get_ylim()[1] > 0.13


def test_a_threshold_that_moves_is_drawn_as_it_was_in_each_step(tmp_path: Path, axes: list[Axes]) -> None:
    moved: Sequence[float | None] = (None, 0.1, 0.25, None)
    steps = [
        StepRecord(index=index, sigma=None, decision="computed", change=0.1, threshold=threshold)
        for index, threshold in enumerate(moved)
    ]
    drawn(tmp_path / "a.png", steps)
    assert legend(axes[3]) == ["computed (C)", "threshold 0.1 to 0.25"]
    [levels] = [patch.get_data() for patch in axes[3].patches if hasattr(patch, "get_data")]
    assert np.array_equal(levels.values, np.array(moved, float), equal_nan=True)
    assert levels.edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, -0.5])
def test_odd_numbers_do_not_hide_the_others(odd: float, tmp_path: Path, axes: list[Axes]) -> None:
    drawn(tmp_path / "a.png", [*records("C", change=odd), *records("C", change=0.5)])
    low, high = axes[3].get_ylim()
    assert low <= min(0, odd if math.isfinite(odd) else 0)
    assert 0.5 <= high < 1


def test_equal_images_have_no_difference(tmp_path: Path, axes: list[Axes]) -> None:
    drawn(tmp_path / "a.png", records("CSSC"))
    drawn(tmp_path / "b.png", records("CSSC"), image((RED[0], RED[1], RED[2] + 3)))
    titles = [panel.get_title() for panel in axes]
    assert (titles[2], titles[6].splitlines()[0]) == ("no difference", "difference \u00d7 50")


def test_many_steps_and_a_long_title_still_fit(tmp_path: Path) -> None:
    steps = records("CS" * 100, change=0.05, running_sum=0.05, threshold=0.1)
    pixels = drawn(tmp_path / "long.png", steps, title="a large red striped circle " * 8)
    assert pixels.shape == (1320, 1600, 3)
    border = np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3), pixels[:, -4:].reshape(-1, 3)])
    assert (border == 255).all()


def test_of_very_many_steps_the_first_are_drawn_and_the_axis_says_so(axes: list[Axes], tmp_path: Path) -> None:
    """A patch for each of ten thousand takes half a minute."""
    drawn(tmp_path / "a.png", records("CS" * 501, **CHANGES))
    numbers, decisions = axes[3:]
    assert [len(bars(part)) for part in (numbers, decisions)] == [1000, 1000]
    assert decisions.get_xlabel() == "denoising step (the first 1000 of 1002)"
    drawn(tmp_path / "b.png", records("CS" * 500))
    assert axes[-1].get_xlabel() == "denoising step"


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
    assert picture.distance(image(GREY), image(GREY)) == math.inf
    # One channel of three off by 3: mean square 3, 10 log10(65025 / 3).
    assert picture.distance(image(GREY), image((93, 90, 90))) == pytest.approx(43.3596, abs=1e-4)
