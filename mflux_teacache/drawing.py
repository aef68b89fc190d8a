"""What all pictures of the package share: colours, and figures with plain axes."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Computed, partly reused and skipped steps, as arguments of matplotlib's patches: Okabe and Ito's blues and orange,
# told apart by lightness and hatching as well as by hue.
COMPUTED: dict[str, Any] = {"facecolor": "#0072B2", "edgecolor": "#00456B"}
SKIPPED: dict[str, Any] = {"facecolor": "#F7C65C", "edgecolor": "#8A5A00", "hatch": "////"}
PARTIAL: dict[str, Any] = {"facecolor": "#8FC1E3", "edgecolor": "#00456B", "hatch": "...."}
FILL = {"C": COMPUTED, "P": PARTIAL, "S": SKIPPED}  # by the letter of a pattern
MEANING = {"C": "computed", "P": "partly reused", "S": "skipped"}
LIMIT = "#B3003B"

MOST_STEPS = 1000  # drawn of a run: each has a patch of its own, and a picture is some 1600 pixels wide

# Okabe and Ito's palette without the yellow, which is too faint on white for lines.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def new_figure(width: float, height: float, title: str, *, fold: int = 90, dpi: int = 200, pad: float = 0.06) -> Figure:
    """Args:
    width, height: in inches.
    title: above everything, broken into lines.
    fold: the characters of such a line.
    pad: above and below what is in the figure, in inches.
    """
    figure = Figure(figsize=(width, height), dpi=dpi, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=pad))
    # A title has a prompt in it, where a dollar sign is no formula.
    figure.suptitle(textwrap.fill(title, fold), fontsize=11, parse_math=False)
    return figure


def name_steps(axes: Axes, steps: int) -> None:
    """Fit an axis to the steps of a run, and say which of them are drawn."""
    axes.set_xlim(-0.6, min(steps, MOST_STEPS) - 0.4)
    axes.locator_params(axis="x", integer=True)
    which = f" (the first {MOST_STEPS} of {steps})" if steps > MOST_STEPS else ""
    axes.set_xlabel(f"denoising step{which}", fontsize=10)


def make_plain(axes: Axes, *, grid: Any = "both", **ticks: Any) -> None:
    """A faint grid behind what is drawn, small ticks, and no frame above and to the right.

    Args:
        grid: ``x``, ``y`` or ``both``.
        ticks: more of matplotlib's parameters of ticks.
    """
    axes.tick_params(labelsize=9, **ticks)
    axes.grid(axis=grid, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
