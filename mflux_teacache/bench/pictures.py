"""What is drawn.

Step times and ratios of ``bench speed``; closeness over speed-up, and the images themselves, of ``bench quality``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle, groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mflux_teacache.bench.figures import Quality, Speed, chosen, pareto
from mflux_teacache.bench.runs import FULL, Case, JudgedRun
from mflux_teacache.drawing import COMPUTED, FILL, LIMIT, LINES, MEANING, MOST_STEPS, make_plain, name_steps, new_figure
from mflux_teacache.image_quality import psnr

if TYPE_CHECKING:
    from mflux_teacache.bench.judging import Judged  # which loads mflux

_PLAIN: dict[str, Any] = {"linestyle": "--", "linewidth": 1.2, "color": "black"}
_FLOOR: dict[str, Any] = {"color": LIMIT, "linewidth": 2.4}
_DOT: dict[str, Any] = {
    "marker": "o", "color": "white", "markeredgecolor": "black", "markersize": 4, "linewidth": 0,
}  # fmt: skip
_LEGEND: dict[str, Any] = {"fontsize": 9, "frameon": False}

_WIDTH = 8.0  # inches, as all of these
_TIMELINE_HEIGHT = 1.6
_RATIO_HEIGHT = 0.42
_REST_HEIGHT = 1.7
_TRADE = (9.6, 4.4)  # without the legend
_LEGEND_COLUMNS = 3
_LEGEND_LINE = 0.2

_FORECASTS: tuple[dict[str, Any], ...] = (
    {"linestyle": "-", "marker": "o"},
    {"linestyle": "--", "marker": "^"},
    {"linestyle": ":", "marker": "s"},
)
_OF_OUTPUTS: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 1.4}
_BASELINE: dict[str, Any] = {"color": LIMIT, "linestyle": "-", "linewidth": 2.4, "marker": "x", "markersize": 6}
_BEST: dict[str, Any] = {"color": "#BBBBBB", "linewidth": 7, "alpha": 0.6, "solid_capstyle": "round", "zorder": 0}

_CELL = 1.5  # inches
_LINE = 0.2
_LABELS = 2.0
_HEADINGS = 1.2


def of_speed(title: str, speeds: Sequence[Speed]) -> Figure:
    """A timeline for each variant but plain, and the ratios with their floors.

    Args:
        speeds: plain first.
    """
    plain, *others = speeds
    heights = (_TIMELINE_HEIGHT * len(others), _RATIO_HEIGHT * len(speeds) + 0.5)
    figure = new_figure(_WIDTH, sum(heights) + _REST_HEIGHT, title)
    halves: Any = figure.subfigures(2, 1, height_ratios=(heights[0] + 0.8, heights[1] + 0.4))
    upper, lower = halves
    timelines = upper.subplots(len(others), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, entry in zip(timelines, others, strict=True):
        _draw_timeline(axes, entry, plain)
    timelines[-1].set_ylim(0, 1.05e3 * max(seconds for entry in speeds for seconds in entry.step_seconds))
    name_steps(timelines[-1], len(plain.pattern))
    there = {letter for entry in others for letter in entry.pattern}
    colours = [Patch(label=f"step {meaning}", **FILL[letter]) for letter, meaning in MEANING.items() if letter in there]
    handles = [*colours, Line2D([], [], label="plain, the same step", **_PLAIN)]
    upper.legend(handles=handles, loc="outside upper center", ncols=3, **_LEGEND)
    _draw_ratios(lower.subplots(), speeds)
    return figure


def _draw_timeline(axes: Axes, entry: Speed, plain: Speed) -> None:
    """Median milliseconds of each step."""
    steps = zip(entry.pattern, entry.step_seconds, strict=True)
    for index, (letter, seconds) in enumerate(islice(steps, MOST_STEPS)):
        axes.bar(index, 1e3 * seconds, width=0.8, linewidth=0.6, **FILL[letter])
    edges = [index - 0.5 for index in range(len(plain.pattern) + 1)]
    axes.stairs([1e3 * seconds for seconds in plain.step_seconds], edges, baseline=None, **_PLAIN)
    axes.set_title(entry.variant, fontsize=10, loc="left", pad=3)
    axes.set_ylabel("ms", fontsize=10)
    make_plain(axes, grid="y", length=2)


def _draw_ratios(axes: Axes, speeds: Sequence[Speed]) -> None:
    """A bar for each median, a dot for each pair, a mark for the floor."""
    places = range(len(speeds))
    for place, entry in enumerate(speeds):
        axes.barh(place, entry.ratio.median, height=0.62, linewidth=0.6, **COMPUTED)
        axes.plot(entry.ratios, [place] * len(entry.ratios), **_DOT)
        axes.plot([entry.floor] * 2, [place - 0.42, place + 0.42], **_FLOOR)
    axes.set_yticks(places, [entry.variant for entry in speeds])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.05 * max(1.0, *(entry.ratio.high for entry in speeds)))
    axes.set_xlabel("time of the loop, plain = 1", fontsize=10)
    make_plain(axes, grid="x", length=2)
    right = axes.secondary_yaxis("right")
    right.set_yticks(places, [_medians(entry) for entry in speeds], fontsize=9)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    floor = Line2D([], [], label="floor: computed steps / all steps", **_FLOOR)
    dot = Line2D([], [], label="one repetition", **_DOT)
    axes.legend(handles=[floor, dot], loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, **_LEGEND)


def _medians(entry: Speed) -> str:
    """In a column beside the axes: no dot of a repetition stands next to it."""
    median = f"median {entry.ratio.median:.3f}"
    if entry.floor == 1:
        return median
    return f"{median}\n{1 / entry.ratio.median:.2f}x, floor {1 / entry.floor:.2f}x"


def of_quality(title: str, qualities: Sequence[Quality]) -> Figure:
    """PSNR over speed-up, a line for each strategy, what it reuses and its forecast, and one for fewer steps.

    A setting whose images mostly equal their full runs is left out: the PSNR of the few others says little of it.
    """
    drawn = [entry for entry in qualities if 2 * entry.equal <= entry.images]
    lines = len({entry.series for entry in drawn})
    figure = new_figure(_TRADE[0], _TRADE[1] + lines * _LEGEND_LINE / _LEGEND_COLUMNS, title, fold=112)
    panels: Any = figure.subplots(1, 2, sharex=True, sharey=True)
    labels = ("mean of the images that differ", "worst image")
    for axes, height, label in zip(panels, ("psnr", "worst_psnr"), labels, strict=True):
        _draw_lines(axes, drawn, height)
        axes.set_title(label, fontsize=10)
        axes.set_xlabel("speed-up: steps / computed steps", fontsize=10)
    panels[0].set_ylabel("PSNR against the full run, dB", fontsize=10)
    if best := pareto(drawn):
        places = [entry.speed_up for entry in best], [entry.psnr for entry in best]
        panels[0].plot(*places, label="no other is better", **_BEST)
    handles, series = panels[0].get_legend_handles_labels()
    figure.legend(handles, series, loc="outside lower center", ncols=_LEGEND_COLUMNS, handlelength=3, **_LEGEND)
    return figure


def _draw_lines(axes: Axes, qualities: Sequence[Quality], height: str) -> None:
    plugins = list(dict.fromkeys(map(_plugin, qualities)))
    strategies = dict.fromkeys(_plugin(entry) for entry in qualities if not entry.is_baseline)
    colours = dict(zip(strategies, cycle(LINES), strict=False))
    ordered = sorted(qualities, key=lambda entry: (plugins.index(_plugin(entry)), entry.series, entry.speed_up))
    for series, members in groupby(ordered, key=lambda entry: entry.series):
        entries = list(members)
        look = _line(entries[0], colours)
        rising = sorted(entries, key=attrgetter(height))
        best = {entry.speed_up: getattr(entry, height) for entry in rising}
        axes.plot(*zip(*sorted(best.items()), strict=True), label=series, **look)
        # A line through others that compute as many steps would go up and down.
        for entry in rising:
            if (place := (entry.speed_up, getattr(entry, height))) not in best.items():
                axes.plot(*place, **{**look, "linestyle": "none"})
    make_plain(axes, length=2)


def _line(entry: Quality, colours: Mapping[str, str]) -> dict[str, Any]:
    """A colour for each plugin, a kind of line and a marker for the forecast, and open markers for outputs."""
    if entry.is_baseline:
        return _BASELINE
    kind = {**_FORECASTS[entry.forecast], **(_OF_OUTPUTS if entry.reuse == "output" else {})}
    return {"color": colours[_plugin(entry)], "linewidth": 1.6, "markersize": 4.5, **kind}


def _plugin(entry: Quality) -> str:
    return entry.setting.partition(" ")[0]


def contact_sheet(title: str, cases: Sequence[Case], qualities: Sequence[Quality], judged: Judged) -> Figure:
    """Args:
    cases: the columns.
    qualities: the rows below the full run's are some of them.
    judged: with runs and thumbnails. What an earlier run drew, and this one was kept from, is left out.
    """
    there = judged.thumbnails.keys()
    cases = [case for case in cases if (FULL, case) in there]
    qualities = [entry for entry in chosen(qualities) if there >= {(entry.setting, case) for case in cases}]
    height = _HEADINGS + (_CELL + _LINE) * (1 + len(qualities))
    figure = new_figure(_LABELS + _CELL * len(cases), height, title, fold=16 * (1 + len(cases)), pad=0.03)
    grid: Any = figure.subplots(
        1 + len(qualities), 1 + len(cases), squeeze=False, width_ratios=(_LABELS, *[_CELL] * len(cases))
    )
    runs = {(run.setting, run.case): run for run in judged.runs}
    _write(grid[0, 0], FULL)
    for axes, case in zip(grid[0, 1:], cases, strict=True):
        _show(axes, judged.thumbnails[FULL, case], f"{textwrap.fill(case.prompt, 24)}\nseed {case.seed}")
    for row, entry in zip(grid[1:], qualities, strict=True):
        _write(row[0], f"{textwrap.fill(entry.setting, 26)}\n{entry.speed_up:.2f}x, {_mean(entry)}")
        for axes, case in zip(row[1:], cases, strict=True):
            _show(axes, judged.thumbnails[entry.setting, case], _distance(runs[entry.setting, case], entry.steps))
    return figure


def _mean(entry: Quality) -> str:
    if entry.psnr is None:
        return "all equal"
    return f"mean {entry.psnr:.1f} dB{f', {entry.equal}/{entry.images} equal' if entry.equal else ''}"


def _distance(run: JudgedRun, steps: int) -> str:
    distance = f"{psnr(run.squared_error):.1f} dB" if run.squared_error else "equal"
    return f"{distance}, {run.computed:g}/{steps}"


def _write(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.97, 0.5, text, fontsize=8, ha="right", va="center", transform=axes.transAxes)


def _show(axes: Axes, image: PIL.Image.Image, label: str) -> None:
    axes.set_axis_off()
    axes.imshow(np.asarray(image), interpolation="lanczos")
    axes.set_title(label, fontsize=7, pad=3, parse_math=False)  # a dollar sign in a prompt is no formula
