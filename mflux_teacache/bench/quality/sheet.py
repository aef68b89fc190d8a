"""The contact sheet of ``bench quality``: a column for each prompt, the full run above what settings made of it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mflux_teacache.bench.quality.measure import FULL
from mflux_teacache.bench.quality.runs import Case, Run
from mflux_teacache.bench.quality.summary import Summary, psnr
from mflux_teacache.pieces.output_files import png_of, replace_file

COLUMNS = 6
ROWS = 12
# Where there are more settings than rows, those next to this gain stand for their series.
SPEED_UP = 2.0

_CELL = 1.5  # inches
_LINE = 0.2
_LABELS = 2.0
_HEADINGS = 1.2
_DPI = 200


def chosen(summaries: Sequence[Summary]) -> list[Summary]:
    """Which settings are shown: all, or one of each series, at most ``ROWS``."""
    if len(summaries) <= ROWS:
        return list(summaries)
    series = dict.fromkeys(entry.series for entry in summaries)
    nearest = (
        min((entry for entry in summaries if entry.series == name), key=lambda entry: abs(entry.speed_up - SPEED_UP))
        for name in series
    )
    return list(nearest)[:ROWS]


def draw(
    path: Path,
    *,
    title: str,
    cases: Sequence[Case],
    summaries: Sequence[Summary],
    runs: Sequence[Run],
    thumbnails: Mapping[tuple[str, Case], PIL.Image.Image],
) -> None:
    """Write the sheet as a PNG; an existing file is replaced.

    Args:
        cases: the columns.
        summaries: the rows below the full run's.
        runs: of these settings and cases, and maybe others.
        thumbnails: by setting and case.
    """
    figure = Figure(
        figsize=(_LABELS + _CELL * len(cases), _HEADINGS + (_CELL + _LINE) * (1 + len(summaries))),
        dpi=_DPI,
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03),
    )
    figure.suptitle(textwrap.fill(title, 16 * (1 + len(cases))), fontsize=11)
    grid: Any = figure.subplots(
        1 + len(summaries), 1 + len(cases), squeeze=False, width_ratios=(_LABELS, *[_CELL] * len(cases))
    )
    made = {(run.setting, run.case): run for run in runs}
    _write(grid[0, 0], FULL)
    for axes, case in zip(grid[0, 1:], cases, strict=True):
        _show(axes, thumbnails[FULL, case], f"{textwrap.fill(case.prompt, 24)}\nseed {case.seed}")
    for row, entry in zip(grid[1:], summaries, strict=True):
        _write(row[0], f"{textwrap.fill(entry.setting, 26)}\n{entry.speed_up:.2f}x, {_mean(entry)}")
        for axes, case in zip(row[1:], cases, strict=True):
            run = made[entry.setting, case]
            distance = f"{psnr(run.squared_error):.1f} dB" if run.squared_error else "equal"
            label = f"{distance}, {run.computed}/{len(run.pattern)}"
            _show(axes, thumbnails[entry.setting, case], label)
    replace_file(path, png_of(figure))


def _mean(entry: Summary) -> str:
    if entry.psnr is None:
        return "all equal"
    return f"mean {entry.psnr:.1f} dB{f', {entry.equal}/{entry.images} equal' if entry.equal else ''}"


def _write(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.97, 0.5, text, fontsize=8, ha="right", va="center", transform=axes.transAxes)


def _show(axes: Axes, image: PIL.Image.Image, label: str) -> None:
    axes.set_axis_off()
    axes.imshow(np.asarray(image), interpolation="lanczos")
    axes.set_title(label, fontsize=7, pad=3)
