"""Images, how far they are from a full run's, and below them what was decided step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from mflux_teacache.charts import steps
from mflux_teacache.drawing import new_figure
from mflux_teacache.image_quality import levels, psnr, squared_error
from mflux_teacache.records import StepRecord

_WIDTH = 8.0
_IMAGES = 3.2  # inches
_NUMBERS, _DECISIONS = 3.4, 1.2
_HEADING = 0.6
_FACTORS = (1, 2, 5, 10, 20, 50, 100)


class Panel(NamedTuple):
    """An image with its label, of one or two lines."""

    label: str
    image: PIL.Image.Image


@dataclass(frozen=True, slots=True)
class Block:
    """One run.

    Attributes:
        panels: side by side; there may be none.
        records: one per step, drawn below the panels; there may be none.
        heading: above the block; of one without panels, which have labels of their own.
    """

    panels: Sequence[Panel] = ()
    records: Sequence[StepRecord] = ()
    heading: str = ""


def drawn(title: str, blocks: Sequence[Block]) -> Figure:
    """A picture 1600 pixels wide.

    Args:
        title: above everything, broken into lines as needed.
        blocks: from top to bottom, at least one, each with panels or records.
    """
    parts = [part for block in blocks for part in _parts(block)]
    figure = new_figure(_WIDTH, sum(height for height, _ in parts), title, fold=80)
    places: Any = figure.subfigures(len(parts), 1, height_ratios=[height for height, _ in parts], squeeze=False)
    for place, (_, draw) in zip(places[:, 0], parts, strict=True):
        draw(place)
    for block, place in zip(blocks, _firsts(blocks, places[:, 0]), strict=True):
        if block.heading:
            place.suptitle(block.heading, fontsize=10, parse_math=False)
    return figure


def _parts(block: Block) -> list[tuple[float, Any]]:
    """The height of each part of a block, in inches, and what draws it."""
    images = [(_IMAGES, lambda place: _draw_panels(place, block.panels))] if block.panels else []
    height = (_NUMBERS if steps.has_numbers(block.records) else _DECISIONS) + (_HEADING if block.heading else 0)
    return images + ([(height, lambda place: steps.draw(place, block.records))] if block.records else [])


def _firsts(blocks: Sequence[Block], places: Sequence[SubFigure]) -> list[SubFigure]:
    """Where each block begins."""
    sizes = [len(_parts(block)) for block in blocks]
    return [places[sum(sizes[:number])] for number in range(len(blocks))]


def compared(full: Panel, cached: Panel) -> list[Panel]:
    """Both images, which have one size, and their difference."""
    difference, factor = amplified_difference(full.image, cached.image)
    decibels = distance(full.image, cached.image)
    between = f"{named_difference(factor)}\nPSNR {spell(decibels)}" if math.isfinite(decibels) else "no difference"
    return [full, cached, Panel(between, difference)]


def _draw_panels(place: SubFigure, panels: Sequence[Panel]) -> None:
    for axes, panel in zip(place.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _show(axes, panel.label, panel.image)


def amplified_difference(plain: PIL.Image.Image, cached: PIL.Image.Image) -> tuple[PIL.Image.Image, int]:
    """Absolute difference per channel times a round factor, and that factor.

    The largest factor at which at most one value in 500 clips: a single bright edge would leave the rest black.
    """
    difference = np.abs(levels(plain).astype(np.float64) - levels(cached))
    large = np.quantile(difference, 0.998)
    factor = max((factor for factor in _FACTORS if factor * large <= 255), default=1)
    return PIL.Image.fromarray(np.minimum(difference * factor, 255).astype(np.uint8)), factor


def named_difference(factor: int) -> str:
    return f"difference \u00d7 {factor}"


def distance(plain: PIL.Image.Image, cached: PIL.Image.Image) -> float:
    """PSNR in dB, infinite for equal images."""
    return psnr(squared_error(levels(cached), levels(plain)))


def spell(decibels: float) -> str:
    return f"{decibels:.1f} dB" if math.isfinite(decibels) else "infinite"


def _show(axes: Axes, label: str, image: PIL.Image.Image) -> None:
    axes.imshow(np.asarray(image), interpolation="lanczos")
    axes.set_title(label, fontsize=10, parse_math=False)  # a file's name may have dollar signs
    axes.set_axis_off()
