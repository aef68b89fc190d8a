"""The demo's picture: both images, their difference, and below them what was decided step by step."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from mflux_teacache.demo.palette import COMPUTED, LIMIT, SKIPPED
from mflux_teacache.output_files import png_of, replace_file
from mflux_teacache.records import LETTERS, Outcome, StepRecord

_FILL: dict[Outcome, dict[str, Any]] = {"computed": COMPUTED, "forced": COMPUTED, "skipped": SKIPPED}
_LETTER_COLOUR = {"C": "white", "S": "black"}

_INCHES = (8.0, 6.6)
_DPI = 200
_FACTORS = (1, 2, 5, 10, 20, 50, 100)


def draw(
    path: Path,
    *,
    title: str,
    plain: PIL.Image.Image,
    plain_label: str,
    cached: PIL.Image.Image,
    cached_label: str,
    records: Sequence[StepRecord],
) -> None:
    """Write the picture as a PNG of 1600 x 1320 pixels.

    Args:
        path: where to; an existing file is replaced.
        title: above everything, broken into lines as needed.
        plain, cached: images of one size.
        plain_label, cached_label: above them.
        records: of the cached run, one per step.
    """
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    figure.suptitle(textwrap.fill(title, 80), fontsize=11)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.0, 1.1))  # an array, typed as one or the other
    images, timeline = halves
    difference, factor = amplified_difference(plain, cached)
    difference_label = f"difference \u00d7 {factor}\nPSNR {spell(psnr(plain, cached))}"
    panels = ((plain_label, plain), (cached_label, cached), (difference_label, difference))
    for axes, (label, image) in zip(images.subplots(1, 3), panels, strict=True):
        _show(axes, label, image)
    upper, lower = timeline.subplots(2, 1, sharex=True, height_ratios=(1.0, 0.09))
    _draw_changes(upper, records)
    _draw_decisions(lower, records)
    replace_file(path, png_of(figure))


def amplified_difference(plain: PIL.Image.Image, cached: PIL.Image.Image) -> tuple[PIL.Image.Image, int]:
    """Absolute difference per channel times a round factor, and that factor.

    The largest factor at which at most one value in 500 clips: a single bright edge would leave the rest black.
    """
    difference = np.abs(_levels(plain) - _levels(cached))
    large = np.quantile(difference, 0.998)
    factor = max((factor for factor in _FACTORS if factor * large <= 255), default=1)
    return PIL.Image.fromarray(np.minimum(difference * factor, 255).astype(np.uint8)), factor


def psnr(plain: PIL.Image.Image, cached: PIL.Image.Image) -> float:
    """Peak signal-to-noise ratio in dB over all channels of 8-bit images; infinite for equal ones."""
    error = float(np.mean((_levels(plain) - _levels(cached)) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def spell(decibels: float) -> str:
    return f"{decibels:.1f} dB" if math.isfinite(decibels) else "infinite"


def _levels(image: PIL.Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(image.convert("RGB"), dtype=np.float64)


def _show(axes: Axes, label: str, image: PIL.Image.Image) -> None:
    axes.imshow(np.asarray(image), interpolation="lanczos")
    axes.set_title(label, fontsize=10)
    axes.set_axis_off()


def _draw_changes(axes: Axes, records: Sequence[StepRecord]) -> None:
    """What was measured and what it was held against."""
    steps = [record.index for record in records]
    for record in records:
        axes.bar(record.index, record.change or 0.0, width=0.8, linewidth=0.6, **_FILL[record.decision])
    handles: list[Artist] = [
        Patch(label="change, step computed", **COMPUTED),
        Patch(label="change, step skipped", **SKIPPED),
    ]
    sums = _numbers(record.running_sum for record in records)
    if not np.isnan(sums).all():
        handles += axes.plot(steps, sums, "o-", color="black", markersize=3.5, linewidth=1.3, label="running sum")
    thresholds = _numbers(record.threshold for record in records)
    if not np.isnan(thresholds).all():
        label = f"threshold {np.nanmin(thresholds):g}"
        handles += axes.plot(steps, thresholds, "--", color=LIMIT, linewidth=1.6, label=label)
    axes.set_ylabel("relative change", fontsize=10)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=9, bottom=False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=4,
        columnspacing=1.5,
        fontsize=9,
        frameon=False,
    )


def _draw_decisions(axes: Axes, records: Sequence[StepRecord]) -> None:
    """One cell per step, lettered as in a pattern."""
    for record in records:
        letter = LETTERS[record.decision]
        axes.bar(record.index, 1.0, width=0.96, linewidth=0.0, color=_FILL[record.decision]["facecolor"])
        if len(records) <= 40:
            colour = _LETTER_COLOUR[letter]
            axes.text(record.index, 0.5, letter, color=colour, fontsize=8, ha="center", va="center_baseline")
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_xlim(-0.6, len(records) - 0.4)
    axes.locator_params(axis="x", integer=True)
    axes.tick_params(labelsize=9, bottom=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("denoising step (C computed, S skipped)", fontsize=10)


def _numbers(values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """With NaN, which leaves a gap in a line, for ``None``."""
    return np.array([math.nan if value is None else value for value in values])
