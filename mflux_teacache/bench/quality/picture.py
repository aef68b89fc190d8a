"""The picture of ``bench quality``: closeness to the full run over speed-up, a line for each strategy."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mflux_teacache.bench.quality.summary import Summary, pareto
from mflux_teacache.pieces.output_files import png_of, replace_file

_INCHES = (9.6, 5.2)
_DPI = 200

# Okabe and Ito's, without the yellow, which is faint on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES: tuple[dict[str, Any], ...] = (
    {"linestyle": "-", "marker": "o"},
    {"linestyle": "--", "marker": "^"},
    {"linestyle": ":", "marker": "s"},
)
_BEST: dict[str, Any] = {"color": "#BBBBBB", "linewidth": 7, "alpha": 0.6, "solid_capstyle": "round", "zorder": 0}


def draw(path: Path, *, title: str, summaries: Sequence[Summary]) -> None:
    """Write the picture as a PNG; an existing file is replaced.

    A setting whose images mostly equal their full runs is left out: the PSNR of the few others says little of it.
    """
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    figure.suptitle(textwrap.fill(title, 112), fontsize=11)
    drawn = [entry for entry in summaries if 2 * entry.equal <= entry.images]
    panels: Any = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, height, label in zip(
        panels, ("psnr", "worst_psnr"), ("mean of the images that differ", "worst image"), strict=True
    ):
        _draw_lines(axes, drawn, height)
        axes.set_title(label, fontsize=10)
        axes.set_xlabel("speed-up: steps / computed steps", fontsize=10)
    panels[0].set_ylabel("PSNR against the full run, dB", fontsize=10)
    if best := pareto(drawn):
        panels[0].plot(
            [entry.speed_up for entry in best], [entry.psnr for entry in best], label="no other is better", **_BEST
        )
    handles, series = panels[0].get_legend_handles_labels()
    figure.legend(handles, series, loc="outside lower center", ncols=3, fontsize=9, handlelength=3, frameon=False)
    replace_file(path, png_of(figure))


def _draw_lines(axes: Axes, summaries: Sequence[Summary], height: str) -> None:
    plugins = list(dict.fromkeys(_plugin(entry) for entry in summaries))
    ordered = sorted(summaries, key=lambda entry: (plugins.index(_plugin(entry)), entry.series, entry.speed_up))
    for series, members in groupby(ordered, key=lambda entry: entry.series):
        entries = list(members)
        axes.plot(
            [entry.speed_up for entry in entries],
            [getattr(entry, height) for entry in entries],
            label=series,
            color=_COLOURS[plugins.index(_plugin(entries[0])) % len(_COLOURS)],
            linewidth=1.6,
            markersize=4.5,
            **_STYLES[entries[0].forecast],
        )
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def _plugin(entry: Summary) -> str:
    return entry.setting.partition(" ")[0]
