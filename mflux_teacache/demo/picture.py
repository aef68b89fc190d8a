"""The demo's picture: both images, their difference, and below them what was decided step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.axes import Axes

from mflux_teacache.demo import timeline
from mflux_teacache.drawing import new_figure
from mflux_teacache.image_quality import levels, psnr, squared_error
from mflux_teacache.pieces.output_files import png_of, replace_file
from mflux_teacache.records import StepRecord

_WIDTH = 8.0
_IMAGES = 3.2  # inches
_NUMBERS, _DECISIONS = 3.4, 1.2
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
    """Write the picture as a PNG, 1600 pixels wide.

    Args:
        path: where to; an existing file is replaced.
        title: above everything, broken into lines as needed.
        plain, cached: images of one size.
        plain_label, cached_label: above them.
        records: of the cached run, one per step.
    """
    heights = (_IMAGES, _NUMBERS if timeline.has_numbers(records) else _DECISIONS)
    figure = new_figure(_WIDTH, sum(heights), title, fold=80)
    halves: Any = figure.subfigures(2, 1, height_ratios=heights)  # an array, typed as one or the other
    images, steps = halves
    difference, factor = amplified_difference(plain, cached)
    decibels = distance(plain, cached)
    between = f"difference \u00d7 {factor}\nPSNR {spell(decibels)}" if math.isfinite(decibels) else "no difference"
    panels = ((plain_label, plain), (cached_label, cached), (between, difference))
    for axes, (label, image) in zip(images.subplots(1, 3), panels, strict=True):
        _show(axes, label, image)
    timeline.draw(steps, records)
    replace_file(path, png_of(figure))


def amplified_difference(plain: PIL.Image.Image, cached: PIL.Image.Image) -> tuple[PIL.Image.Image, int]:
    """Absolute difference per channel times a round factor, and that factor.

    The largest factor at which at most one value in 500 clips: a single bright edge would leave the rest black.
    """
    difference = np.abs(levels(plain).astype(np.float64) - levels(cached))
    large = np.quantile(difference, 0.998)
    factor = max((factor for factor in _FACTORS if factor * large <= 255), default=1)
    return PIL.Image.fromarray(np.minimum(difference * factor, 255).astype(np.uint8)), factor


def distance(plain: PIL.Image.Image, cached: PIL.Image.Image) -> float:
    """PSNR in dB, infinite for equal images."""
    return psnr(squared_error(levels(cached), levels(plain)))


def spell(decibels: float) -> str:
    return f"{decibels:.1f} dB" if math.isfinite(decibels) else "infinite"


def _show(axes: Axes, label: str, image: PIL.Image.Image) -> None:
    axes.imshow(np.asarray(image), interpolation="lanczos")
    axes.set_title(label, fontsize=10)
    axes.set_axis_off()
