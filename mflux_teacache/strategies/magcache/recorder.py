"""The plugin ``magcache-record``: measures full runs, and writes the table that ``magcache`` takes.

``--plugin magcache-record --magcache-record-output mine.json`` beside any model, then
``--plugin magcache --magcache-table mine.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.pieces.json_fields import LONGEST_NAME, LONGEST_TEXT
from mflux_teacache.pieces.matching import loras_of
from mflux_teacache.pieces.recorder import Recording
from mflux_teacache.records import Body, Generation, Step, Target
from mflux_teacache.strategies.magcache import table as tables
from mflux_teacache.strategies.magcache.table import Table

# What diffusers' MagCacheConfig has for models without a recommendation.
THRESHOLD, SKIP_FIRST, MAX_SKIPS = 0.06, 0.2, 3


@dataclass(slots=True, eq=False)
class _Image:
    """The image in the making.

    Attributes:
        residuals: of the last step, by the numbers of the guidance branches.
        ratios: one per step so far.
    """

    residuals: dict[int, mx.array] = field(default_factory=dict)
    ratios: list[float] = field(default_factory=list)


class MagCacheRecord(Recording):
    """Observes full runs, and writes after each image the mean over the images so far."""

    name = "magcache-record"
    default = "magcache-table.json"
    what = "the mean over"
    files = tables.FILES

    def __init__(self) -> None:
        self._images: dict[int, _Image] = {}
        self._runs: list[tuple[float, ...]] = []

    @hookimpl
    def mflux_generation_start(self, generation: Generation) -> None:
        self._images[generation.number] = _Image()

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        image = self._images[step.generation.number]
        now = {branch.index: step.target_part(branch.residual) for branch in body.branches}
        before, image.residuals = image.residuals, now
        ratio = 1.0 if step.index == 0 else _ratio(now, before)
        # A residual that was reused tells nothing.
        image.ratios.append(ratio if body.computed else math.nan)

    @hookimpl
    def mflux_generation_end(self, generation: Generation) -> None:
        ratios = tuple(self._images.pop(generation.number).ratios)
        if generation.status != "finished":
            return
        if problem := _problem(ratios, generation, self._runs):
            self._warn(f"leaves out image {generation.number + 1}: {problem}")
            return
        self._runs.append(ratios)
        self._write_all(self._runs, self._write_table)

    def _write_table(self, runs: Sequence[tuple[float, ...]]) -> None:
        images = f"{len(runs)} {'image' if len(runs) == 1 else 'images'}"
        self._write(
            _table(runs, self._target),
            f"the mean of {images} of {len(runs[0])} steps, which are at most {_apart(runs):.3g} apart in a step",
        )


def _ratio(now: Mapping[int, mx.array], before: Mapping[int, mx.array]) -> float:
    """Mean over tokens and branches of the residual's norm over that of the step before; NaN if they do not match."""
    if {number: residual.shape for number, residual in now.items()} != {
        number: residual.shape for number, residual in before.items()
    }:
        return math.nan
    ratios = [_norms(new) / _norms(before[number]) for number, new in now.items()]
    return mx.stack([ratio.mean() for ratio in ratios]).mean().item()  # type: ignore[return-value]


def _norms(residual: mx.array) -> mx.array:
    return mx.linalg.norm(residual.astype(mx.float32), axis=-1)


def _problem(ratios: Sequence[float], generation: Generation, runs: Sequence[Sequence[float]]) -> str | None:
    """Why an image cannot go into a table; ``None`` if it can."""
    if generation.num_inference_steps == 1:
        return "it has one step, and a table is of the changes from step to step"
    if len(ratios) != generation.num_inference_steps:
        return f"it ran {len(ratios)} of {generation.num_inference_steps} steps, and a table is of whole runs"
    if not all(math.isfinite(ratio) and ratio > 0 for ratio in ratios):
        return "a step was skipped, or its residual has another shape than the step before's, or is zero or not finite"
    if runs and len(runs[0]) != len(ratios):
        return f"it has {len(ratios)} steps, and the ones before have {len(runs[0])}"
    return None


def _table(runs: Sequence[Sequence[float]], target: Target) -> Table:
    """The mean of the runs; how far they are apart goes into the note."""
    model = (target.model or "").strip() or "unknown"
    return Table(
        name=f"{Path(model).name.lower()[: LONGEST_NAME // 2]}-recorded",
        model=model[:LONGEST_TEXT],
        pipelines=(target.pipeline,),
        ratios=tuple(float(f"{sum(step) / len(step):.6g}") for step in zip(*runs, strict=True)),
        threshold=THRESHOLD,
        skip_first=SKIP_FIRST,
        max_skips=MAX_SKIPS,
        source=f"recorded by magcache-record with mflux {version('mflux')}",
        loras=loras_of(target),
        note=f"Mean of {len(runs)} images, which are at most {_apart(runs):.3g} apart in a step. "
        f"Threshold, window and cap are general defaults.",
    )


def _apart(runs: Sequence[Sequence[float]]) -> float:
    """How far two runs are apart in a step, at most."""
    steps = zip(*runs, strict=True)
    return max((max(step) - min(step) for step in steps), default=0.0)
