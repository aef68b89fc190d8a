"""A polynomial over what it was fitted to, and what it leaves unexplained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mflux_teacache.drawing import LIMIT, LINES, make_plain, new_figure

_WIDTH, _HEIGHT = 8.0, 4.6
_POINT: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 4, "alpha": 0.65, "color": LINES[0]}
_CURVE: dict[str, Any] = {"color": LIMIT, "linewidth": 2}


def drawn(
    title: str,
    polynomial: Sequence[float],
    span: tuple[float, float],
    pairs: Sequence[Sequence[float]],
    *,
    given: str,
    predicted: str,
    points: str,
) -> Figure:
    """The curve with its points, and below it the residuals.

    Args:
        polynomial: coefficients from the highest power to the constant.
        span: the range in which it is used.
        pairs: what was given and what was to be predicted, of each point; there may be none.
        given, predicted, points: what both are, and what a point is.
    """
    figure = new_figure(_WIDTH, _HEIGHT if pairs else 0.7 * _HEIGHT, title)
    heights: list[float] = [1.0, 0.45] if pairs else [1.0]
    rows: Any = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    upper, lower = rows[0, 0], rows[-1, 0]
    places = np.linspace(*span, 200)
    upper.plot(places, np.polyval(polynomial, places), label="prediction", **_CURVE)
    if pairs:
        measured, residual = np.array(pairs, float).T
        upper.plot(measured, residual, label=points, **_POINT)
        _draw_left(lower, measured, residual - np.polyval(polynomial, measured))
    upper.set_ylabel(predicted, fontsize=10)
    lower.set_xlabel(given, fontsize=10)
    upper.legend(fontsize=9, frameon=False)
    make_plain(upper)
    return figure


def _draw_left(axes: Axes, measured: Any, left: Any) -> None:
    axes.axhline(0, **_CURVE)
    axes.plot(measured, left, **_POINT)
    axes.set_ylabel("residual", fontsize=10)
    make_plain(axes)
