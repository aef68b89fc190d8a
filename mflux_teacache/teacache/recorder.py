"""The plugin ``teacache-record``: measures full runs, and writes the calibration that ``teacache`` takes.

``--plugin teacache-record --teacache-record-output mine.json`` beside any model, then
``--plugin teacache --teacache-calibration mine.json``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import mlx.core as mx

from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.recording import Recording
from mflux_teacache.records import Body, Generation, Step, Target
from mflux_teacache.teacache.calibration import Calibration
from mflux_teacache.teacache.fitting import (
    DEGREE,
    Change,
    change,
    fit,
    observed,
    predicted,
    r_squared,
    r_squared_held_out,
)

# Fewer changes than this for each coefficient follow the noise of the images rather than the model.
_FEWEST_PER_COEFFICIENT = 4

# In units of the mean predicted change: one step is skipped, and at the next one the sum is beyond it.
_EVERY_OTHER_STEP = 1.5


@dataclass(slots=True, eq=False)
class _Image:
    """The image in the making.

    Attributes:
        now: what was observed in the last step.
        changes: of each step after the first so far.
        whole: no step was skipped.
    """

    now: tuple[mx.array, ...] = ()
    changes: list[Change] = field(default_factory=list)
    whole: bool = True


@dataclass(frozen=True, slots=True)
class _Run:
    """An image that counts."""

    generation: Generation
    changes: tuple[Change, ...]


class TeaCacheRecord(Recording):
    """Observes full runs, and fits after each image to all images so far."""

    name = "teacache-record"
    default = "teacache-calibration.json"
    what = "fitted to"
    _image: _Image

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    @hookimpl
    def mflux_generation_start(self) -> None:
        self._image = _Image()

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        image = self._image
        before, image.now = image.now, observed(step, body)
        image.whole &= body.computed
        if before:
            same = len(before) == len(image.now)
            image.changes.append(change(step, image.now, before) if same else Change(math.nan, math.nan))

    @hookimpl
    def mflux_generation_end(self, generation: Generation) -> None:
        image, self._image = self._image, _Image()
        if generation.status != "finished":
            return
        if problem := _problem(image, generation, self._runs):
            self._warn(f"leaves out image {generation.number + 1}: {problem}")
            return
        self._runs.append(_Run(generation, tuple(image.changes)))
        changes = sum(len(run.changes) for run in self._runs)
        if changes < (needed := _FEWEST_PER_COEFFICIENT * (DEGREE + 1)):
            self._warn(
                f"has {changes} changes from step to step and needs {needed} to fit a polynomial of degree {DEGREE}: "
                f"make more images, with --seed 1 2 3, or more steps"
            )
            return
        self._write(_calibration(self._runs, self._target))


def _problem(image: _Image, generation: Generation, runs: Sequence[_Run]) -> str | None:
    """Why an image cannot go into a calibration; ``None`` if it can."""
    if not image.whole:
        return "a step was skipped, and what is reused does not change"
    if len(image.changes) != generation.num_inference_steps - 1:
        ran = len(image.changes) + 1
        return f"it ran {ran} of {generation.num_inference_steps} steps, and a calibration is of whole runs"
    if not all(math.isfinite(value) for change in image.changes for value in change):
        return "a signal or residual has another shape than the step before's, or is zero or not finite"
    if runs and generation.num_inference_steps != (steps := runs[0].generation.num_inference_steps):
        return f"it has {generation.num_inference_steps} steps, and the ones before have {steps}"
    return None


def _calibration(runs: Sequence[_Run], target: Target) -> Calibration:
    """Fitted, with how it came about. The threshold is a place to start from, not a judgement."""
    images = [run.changes for run in runs]
    changes = list(chain.from_iterable(images))
    polynomial = fit(changes)
    signals = [change.signal for change in changes]
    mean = math.fsum(predicted(polynomial, changes)) / len(changes)
    held_out = _rounded(r_squared_held_out(images)) if len(images) > 1 else None
    predicts = "" if held_out is None else "; r2_held_out predicts each from the others"
    first = runs[0].generation
    model = target.model or "unknown"
    return Calibration(
        name=f"{Path(model).name.lower()}-recorded",
        model=model,
        pipelines=(target.pipeline,),
        signal="modulated_input",
        rows="target",
        polynomial=polynomial,
        source=f"recorded by teacache-record with mflux {version('mflux')}",
        range=(min(signals), max(signals)),
        threshold=round(_EVERY_OTHER_STEP * mean, 3),
        steps=first.num_inference_steps,
        guidance=first.guidance,
        quantize=target.quantize or 16,
        size=f"{first.width}x{first.height}",
        prompts=tuple(dict.fromkeys(run.generation.prompt for run in runs if run.generation.prompt)),
        mflux_version=version("mflux"),
        date=date.today().isoformat(),
        r2=_rounded(r_squared(polynomial, changes)),
        r2_held_out=held_out,
        distilled=target.distilled,
        note=f"Fitted to {len(runs)} {'image' if len(runs) == 1 else 'images'}{predicts}. The threshold skips about "
        f"every other step: look at --plugin shadow before relying on it.",
    )


def _rounded(r2: float) -> float | None:
    """``None`` where there was nothing to explain: every change alike."""
    return round(r2, 4) if math.isfinite(r2) else None
