"""What a strategy measured and decided in an image, step by step.

Only what its records hold is drawn: a strategy that measures nothing has the row of decisions alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mflux_teacache.drawing import FILL, LIMIT, MEANING, MOST_STEPS, make_plain, name_steps
from mflux_teacache.records import LETTERS, StepRecord

_LETTER_COLOUR = {"C": "white", "P": "black", "S": "black"}
_MOST_LETTERS = 40  # of a row that is as wide as the picture
_SUM: dict[str, Any] = {"color": "black", "linewidth": 1.3}
_DOT: dict[str, Any] = {"marker": "o", "markersize": 3.5}
_THRESHOLD: dict[str, Any] = {"color": LIMIT, "linestyle": "--", "linewidth": 1.6}


def has_numbers(records: Sequence[StepRecord]) -> bool:
    """Whether there is more to draw than which steps were computed and which were skipped."""
    return any(_known(getattr(record, name)) for record in records for name in ("prediction", "change", "running_sum"))


def draw(figure: SubFigure, records: Sequence[StepRecord]) -> None:
    """The row of decisions, and above it the numbers that they were made from, if there are any."""
    shown = records[:MOST_STEPS]
    if has_numbers(records):
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.0, 0.09))
        more = _draw_numbers(upper, shown)
    else:
        upper = lower = figure.subplots()
        more = []
    _draw_decisions(lower, shown)
    name_steps(lower, len(records))
    _add_legend(upper, [*_colours(shown), *more])


def _draw_numbers(axes: Axes, records: Sequence[StepRecord]) -> list[Artist]:
    """A bar for what each step adds, their running sum, and the threshold; gives what a legend must explain."""
    name = "prediction" if any(_known(record.prediction) for record in records) else "change"
    bars = _numbers(getattr(record, name) for record in records)
    for record, height in zip(records, bars, strict=True):
        axes.bar(record.index, height, width=0.8, linewidth=0.6, **FILL[LETTERS[record.decision]])
    more = [*_draw_sum(axes, records), *_draw_threshold(axes, records)]
    axes.set_ylabel("predicted change" if name == "prediction" else "measured change", fontsize=10)
    axes.set_ylim(bottom=min(0.0, axes.dataLim.y0))
    make_plain(axes, grid="y", bottom=False)
    return more


def _draw_sum(axes: Axes, records: Sequence[StepRecord]) -> list[Artist]:
    """It grows from zero at each computed step, where it falls back to zero."""
    sums = _numbers(record.running_sum for record in records)
    if all(map(math.isnan, sums)):
        return []
    places: list[tuple[int, float]] = []
    for record, value in zip(records, sums, strict=True):
        places.append((record.index, value))
        if record.decision in ("computed", "forced"):
            places.append((record.index, 0.0))
    axes.plot(*zip(*places, strict=True), **_SUM)
    axes.plot([record.index for record in records], sums, color="black", linestyle="", **_DOT)
    return [Line2D([], [], **_SUM, **_DOT, label="sum since the last computed step")]


def _draw_threshold(axes: Axes, records: Sequence[StepRecord]) -> list[Artist]:
    """A budget moves it from step to step."""
    levels = _numbers(record.threshold for record in records)
    known = [level for level in levels if not math.isnan(level)]
    if not known or all(record.decision == "forced" for record in records):
        return []  # nothing was held against it
    edges = [record.index - 0.5 for record in records] + [records[-1].index + 0.5]
    axes.stairs(levels, edges, baseline=None, **_THRESHOLD)
    low, high = f"{min(known):.3g}", f"{max(known):.3g}"
    return [Line2D([], [], **_THRESHOLD, label=f"threshold {low}" if low == high else f"threshold {low} to {high}")]


def _draw_decisions(axes: Axes, records: Sequence[StepRecord]) -> None:
    """One cell per step, lettered as in a pattern where there is room."""
    for record in records:
        letter = LETTERS[record.decision]
        axes.bar(record.index, 1.0, width=0.96, linewidth=0.0, color=FILL[letter]["facecolor"])
        if len(records) <= _MOST_LETTERS:
            colour = _LETTER_COLOUR[letter]
            axes.text(record.index, 0.5, letter, color=colour, fontsize=8, ha="center", va="center_baseline")
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.tick_params(labelsize=9, bottom=False)
    axes.spines[:].set_visible(False)


def _colours(records: Sequence[StepRecord]) -> list[Artist]:
    """What the colours of bars and cells mean: of those that are there."""
    there = {LETTERS[record.decision] for record in records}
    return [
        Patch(label=f"{meaning} ({letter})", **FILL[letter]) for letter, meaning in MEANING.items() if letter in there
    ]


def _add_legend(axes: Axes, handles: list[Artist]) -> None:
    axes.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=4,
        columnspacing=1.2,
        handletextpad=0.6,
        fontsize=8.5,
        frameon=False,
    )


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _numbers(values: Iterable[float | None]) -> list[float]:
    """With NaN, of which nothing is drawn, for what is not known or not finite."""
    return [math.nan if value is None or not math.isfinite(value) else value for value in values]
