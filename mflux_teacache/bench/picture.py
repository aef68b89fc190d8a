"""The picture of ``bench speed``: how long each step took, and the time ratios with their floors."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mflux_teacache.bench.summary import Summary
from mflux_teacache.demo.palette import COMPUTED, LIMIT, SKIPPED
from mflux_teacache.pieces.output_files import png_of, replace_file

_FILL = {"C": COMPUTED, "S": SKIPPED}
_PLAIN_LINE: dict[str, Any] = {"linestyle": "--", "linewidth": 1.2}
_WIDTH = 8.0
_TIMELINE_HEIGHT = 1.6
_RATIO_HEIGHT = 0.42
_REST_HEIGHT = 1.7
_DPI = 200


def draw(path: Path, *, title: str, summaries: Sequence[Summary]) -> None:
    """Write the picture as a PNG.

    Args:
        path: where to; an existing file is replaced.
        title: above everything, broken into lines as needed.
        summaries: plain first.
    """
    plain, *others = summaries
    heights = (_TIMELINE_HEIGHT * len(others), _RATIO_HEIGHT * len(summaries) + 0.5)
    figure = Figure(
        figsize=(_WIDTH, sum(heights) + _REST_HEIGHT),
        dpi=_DPI,
        layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06),
    )
    figure.suptitle(textwrap.fill(title, 90), fontsize=11)
    halves: Any = figure.subfigures(2, 1, height_ratios=(heights[0] + 0.8, heights[1] + 0.4))
    upper, lower = halves
    timelines = upper.subplots(len(others), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, entry in zip(timelines, others, strict=True):
        _draw_timeline(axes, entry, plain)
    timelines[-1].set_ylim(0, 1.05e3 * max(seconds for entry in summaries for seconds in entry.step_seconds))
    timelines[-1].set_xlabel("denoising step", fontsize=10)
    labels = {"C": "step computed", "S": "step skipped"}
    there = {letter for entry in others for letter in entry.pattern}
    upper.legend(
        handles=[
            *(Patch(label=label, **_FILL[letter]) for letter, label in labels.items() if letter in there),
            Line2D([], [], color="black", **_PLAIN_LINE, label="plain, the same step"),
        ],
        loc="outside upper center",
        ncols=3,
        fontsize=9,
        frameon=False,
    )
    _draw_ratios(lower.subplots(), summaries)
    replace_file(path, png_of(figure))


def _draw_timeline(axes: Axes, entry: Summary, plain: Summary) -> None:
    """Median milliseconds of each step."""
    for index, (letter, seconds) in enumerate(zip(entry.pattern, entry.step_seconds, strict=True)):
        axes.bar(index, 1e3 * seconds, width=0.8, linewidth=0.6, **_FILL[letter])
    axes.stairs(
        [1e3 * seconds for seconds in plain.step_seconds], _edges(plain), baseline=None, color="black", **_PLAIN_LINE
    )
    axes.set_title(entry.variant, fontsize=10, loc="left", pad=3)
    axes.set_ylabel("ms", fontsize=10)
    axes.set_xlim(-0.6, len(entry.pattern) - 0.4)
    axes.locator_params(axis="x", integer=True)
    _plainer(axes, grid="y")


def _edges(entry: Summary) -> list[float]:
    return [index - 0.5 for index in range(len(entry.pattern) + 1)]


def _draw_ratios(axes: Axes, summaries: Sequence[Summary]) -> None:
    """A bar for each median, a dot for each pair, a mark for the floor."""
    for place, entry in enumerate(summaries):
        axes.barh(place, entry.ratio.median, height=0.62, linewidth=0.6, **COMPUTED)
        axes.plot(entry.ratios, [place] * len(entry.ratios), "o", color="white", markeredgecolor="black", markersize=4)
        axes.plot([entry.floor] * 2, [place - 0.42, place + 0.42], color=LIMIT, linewidth=2.4)
    axes.set_yticks(range(len(summaries)), [entry.variant for entry in summaries])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.05 * max(1.0, *(entry.ratio.high for entry in summaries)))
    axes.set_xlabel("time of the loop, plain = 1", fontsize=10)
    _plainer(axes, grid="x")
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(summaries)), [_figures(entry) for entry in summaries], fontsize=9)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    axes.legend(
        handles=[
            Line2D([], [], color=LIMIT, linewidth=2.4, label="floor: computed steps / all steps"),
            Line2D(
                [],
                [],
                color="white",
                marker="o",
                markeredgecolor="black",
                markersize=4,
                linewidth=0,
                label="one repetition",
            ),
        ],
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=2,
        fontsize=9,
        frameon=False,
    )


def _figures(entry: Summary) -> str:
    """A row's median, in a column beside the axes: no dot of a repetition stands next to it."""
    median = f"median {entry.ratio.median:.3f}"
    if entry.floor == 1:
        return median
    return f"{median}\n{1 / entry.ratio.median:.2f}x, floor {1 / entry.floor:.2f}x"


def _plainer(axes: Axes, grid: Any) -> None:
    axes.tick_params(labelsize=9, length=2)
    axes.grid(axis=grid, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
