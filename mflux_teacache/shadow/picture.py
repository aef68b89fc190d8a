"""The picture of a shadow run: error against computed steps, and below it the steps of each strategy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from mflux_teacache.drawing import LINES, make_plain, new_figure
from mflux_teacache.shadow.report import Report, Row

_STYLES = tuple(zip(LINES, "os^DvPX", strict=True))  # markers tell lines apart as well

_TITLE = "What each strategy would have skipped of a run that computed every step"
_COMPUTED = "#E9EDF2"
_WIDTH = 9.0
_DPI = 160
_UPPER = 3.6
_ROW = 0.2
_MOST_PARTED = 200  # steps: lines between more would hide them

# Errors are spread over decades, so their axes are logarithmic. Smaller errors, such as 0, are drawn as this one.
_SMALLEST = 1e-4

# An axis spans at least this factor, so that even a single error has readable ticks around it.
_LEAST_SPAN = 1.5
_FEWEST_TICKS, _ENOUGH_TICKS, _MOST_TICKS = 3, 4, 10


def drawn(report: Report) -> Figure:
    """The picture of a report with at least one row."""
    lower = 1.3 + _ROW * len(report.rows)
    figure = new_figure(_WIDTH, _UPPER + lower, _TITLE, dpi=_DPI, pad=0.08)
    upper, grid = figure.subplots(2, 1, height_ratios=(_UPPER, lower))
    _draw_trade(upper, report)
    _draw_steps(figure, grid, report)
    return figure


def _draw_trade(axes: Axes, report: Report) -> None:
    """One line per strategy through its thresholds: fewer computed steps, larger error."""
    means_of_all: list[float] = []
    by_strategy = itertools.groupby(report.rows, key=lambda row: row.strategy)
    for (strategy, rows), (colour, marker) in zip(by_strategy, itertools.cycle(_STYLES), strict=False):
        points = [(row, _drawn(row.mean)) for row in rows if row.mean is not None]
        counts, means = [row.computed for row, _ in points], [mean for _, mean in points]
        label = strategy if points else f"{strategy} (skips nothing)"
        means_of_all += means
        axes.plot(counts, means, color=colour, marker=marker, markersize=6, linewidth=1.4, label=label)
        # Only the ends are labelled: the thresholds between them are in order, and would cover other lines.
        if len(points) > 1:
            _note(axes, *points[0], 7, "left", colour)
            _note(axes, *points[-1], -7, "right", colour)
    low, high = _span(means_of_all)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    _spell_percents(axes, low, high)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, report.steps + 0.5)
    axes.set_xlabel(f"computed steps of {report.steps} (fewer is faster)", fontsize=10)
    axes.set_ylabel("mean error of what is reused\n(logarithmic)", fontsize=10)
    make_plain(axes)
    axes.legend(fontsize=9, frameon=False, loc="best")


def _note(axes: Axes, row: Row, height: float, points: int, side: str, colour: str) -> None:
    """Write a row's threshold beside its point."""
    if row.threshold is not None:
        place = (row.computed, height)
        style: dict[str, Any] = {"fontsize": 8, "color": colour, "ha": side, "va": "center"}
        axes.annotate(f"{row.threshold:.3g}", place, (points, 0), textcoords="offset points", **style)


def _draw_steps(figure: Figure, axes: Axes, report: Report) -> None:
    """One row of cells per setting: pale where it computes, coloured by the error where it would have skipped."""
    errors = [[math.nan if error is None else _drawn(error) for error in row.errors] for row in report.rows]
    known = [error for row in errors for error in row if not math.isnan(error)]
    low, high = _span(known)  # also without any error, since imshow needs a scale
    scale = LogNorm(low, high)
    axes.set_facecolor(_COMPUTED)
    cells = axes.imshow(errors, aspect="auto", cmap="viridis_r", norm=scale, interpolation="nearest")
    axes.set_yticks(range(len(report.rows)), [_label(row) for row in report.rows], fontsize=8)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(report.rows)), [f"{row.computed:.3g}" for row in report.rows], fontsize=8)
    right.tick_params(length=0)
    right.set_ylabel("computed steps", fontsize=8)
    right.spines[:].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(axis="x", labelsize=9)
    axes.tick_params(length=0)
    for place in range(report.steps + 1 if report.steps <= _MOST_PARTED else 0):
        axes.axvline(place - 0.5, color="white", linewidth=0.8)
    for place, (row, above) in enumerate(zip(report.rows[1:], report.rows, strict=False), 1):
        axes.axhline(place - 0.5, color="white", linewidth=4 if row.strategy != above.strategy else 0.8)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("denoising step (pale: computed)", fontsize=10)
    if known:
        bar = figure.colorbar(cells, ax=axes, pad=0.01, aspect=25)
        _spell_percents(bar.ax, low, high)
        bar.set_label("error\n(logarithmic)", fontsize=8)
        bar.ax.tick_params(labelsize=8)


def _label(row: Row) -> str:
    return row.strategy if row.threshold is None else f"{row.strategy} {row.threshold:.3g}"


def _drawn(error: float) -> float:
    """An error as it is drawn: a logarithmic axis has no place for 0 or infinity, which becomes 100%."""
    return max(error, _SMALLEST) if math.isfinite(error) else 1.0


def _span(errors: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis for these errors, never so close that its ticks could not be told apart."""
    low, high = min(errors, default=_SMALLEST), max(errors, default=1.0)
    margin = max((high / low) ** 0.05, math.sqrt(_LEAST_SPAN * low / high))
    return low / margin, high * margin


def _ticks(low: float, high: float) -> list[float]:
    """The numbers to label: round ones, as few in each decade as will do; evenly spaced ones if those are too few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 2, 5), (1, 2, 3, 5, 7)):
        ticks = [tick for decade in decades for digit in digits if low <= (tick := digit * 10.0**decade) <= high]
        if len(ticks) >= _ENOUGH_TICKS:
            return ticks[:: math.ceil(len(ticks) / _MOST_TICKS)]
    even = MaxNLocator(nbins=5, min_n_ticks=_FEWEST_TICKS).tick_values(low, high)
    return [tick for tick in even if low <= tick <= high]


def _spell_percents(axes: Axes, low: float, high: float) -> None:
    ticks = _ticks(low, high)
    axes.set_yticks(ticks, [f"{'up to ' if tick <= _SMALLEST else ''}{100 * tick:.6g}%" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
