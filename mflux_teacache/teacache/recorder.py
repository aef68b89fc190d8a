"""The plugin ``teacache-record``: measures full runs, and writes the calibration that ``teacache`` takes.

``--plugin teacache-record --teacache-record-output mine.json`` beside any model, then
``--plugin teacache --teacache-calibration mine.json``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.pieces.json_fields import LONGEST_NAME, LONGEST_TEXT
from mflux_teacache.pieces.matching import loras_of
from mflux_teacache.pieces.recorder import Recording
from mflux_teacache.records import Body, Generation, Step, Target
from mflux_teacache.teacache import calibration as calibrations
from mflux_teacache.teacache.calibration import BETTER, Calibration
from mflux_teacache.teacache.fitting import (
    DEGREE,
    Change,
    change,
    fit,
    observed,
    predicted,
    r_squared,
    r_squared_held_out,
    unfit,
)

# Fewer changes than four for each coefficient follow the noise of the images rather than the model.
FEWEST_CHANGES = 4 * (DEGREE + 1)

# What a file keeps of the prompts: to see of what kind they were. A hundred long ones would not fit into it.
_MOST_PROMPTS = 64
_LONGEST_PROMPT = 1000

# In units of the mean predicted change: one step is skipped, and at the next one the sum is beyond it.
_EVERY_OTHER_STEP = 1.5


@dataclass(slots=True, eq=False)
class _Image:
    """The image in the making.

    Attributes:
        now: what was observed in the last step.
        changes: of each step after the first so far.
        whole: no step was skipped.
        branches: numbers of those of the last step; ``None`` before the first.
    """

    now: tuple[mx.array, ...] = ()
    changes: list[Change] = field(default_factory=list)
    whole: bool = True
    branches: tuple[int, ...] | None = None


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
    files = calibrations.FILES

    def __init__(self) -> None:
        self._images: dict[int, _Image] = {}
        self._runs: list[_Run] = []
        self._said_what_is_missing = False

    @hookimpl
    def mflux_generation_start(self, generation: Generation) -> None:
        self._images[generation.number] = _Image()

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        image = self._images[step.generation.number]
        before, image.now = image.now, observed(step, body)
        branches_before, image.branches = image.branches, tuple(branch.index for branch in body.branches)
        image.whole &= body.computed
        if before:
            same = branches_before == image.branches
            image.changes.append(change(step, image.now, before) if same else Change(math.nan, math.nan))

    @hookimpl
    def mflux_generation_end(self, generation: Generation) -> None:
        image = self._images.pop(generation.number)
        if generation.status != "finished":
            return
        if problem := _problem(image, generation, self._runs):
            self._warn(f"leaves out image {generation.number + 1}: {problem}")
            return
        self._runs.append(_Run(generation, tuple(image.changes)))
        self._write_all(self._runs, self._write_calibration)

    def _write_calibration(self, runs: Sequence[_Run]) -> None:
        changes = [change for run in runs for change in run.changes]
        if len(changes) < FEWEST_CHANGES:
            self._say_what_is_missing(len(changes), len(runs[-1].changes))
        elif problem := unfit(changes):
            self._warn(f"has written nothing: {problem}")
        else:
            found = _calibration(runs, changes, self._target)
            self._write(found, _told(found, len(runs)))

    def _say_what_is_missing(self, changes: int, of_each: int) -> None:
        """Once: the next image of the run may bring it."""
        if not self._said_what_is_missing:
            more = math.ceil((FEWEST_CHANGES - changes) / of_each)
            self._say(
                f"nothing written yet: a fit takes {FEWEST_CHANGES} changes from step to step, and this run has "
                f"{changes} so far. It takes {_images(more)} more, such as with --seed 1 2 3; or more steps"
            )
        self._said_what_is_missing = True


def _problem(image: _Image, generation: Generation, runs: Sequence[_Run]) -> str | None:
    """Why an image cannot go into a calibration; ``None`` if it can."""
    if generation.num_inference_steps == 1:
        return "it has one step, and a calibration is of the changes from step to step"
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


def _calibration(runs: Sequence[_Run], changes: Sequence[Change], target: Target) -> Calibration:
    """Fitted, with how it came about. The threshold is a place to start from, not a judgement.

    Args:
        changes: of all runs.
    """
    polynomial = fit(changes)
    signals = [change.signal for change in changes]
    mean = sum(predicted(polynomial, changes)) / len(changes)
    held_out = _rounded(r_squared_held_out([run.changes for run in runs])) if len(runs) > 1 else None
    predicts = "" if held_out is None else "; r2_held_out predicts each from the others"
    first = runs[0].generation
    model = (target.model or "").strip() or "unknown"
    return Calibration(
        name=f"{Path(model).name.lower()[: LONGEST_NAME // 2]}-recorded",
        model=model[:LONGEST_TEXT],
        pipelines=(target.pipeline,),
        signal="modulated_input",
        rows="target",
        polynomial=polynomial,
        source=f"recorded by teacache-record with mflux {version('mflux')}",
        range=(min(signals), max(signals)),
        threshold=float(f"{max(0.0, _EVERY_OTHER_STEP * mean):.3g}"),
        steps=first.num_inference_steps,
        guidance=first.guidance if math.isfinite(first.guidance) else None,
        quantize=target.quantize or 16,
        loras=loras_of(target),
        size=f"{first.width}x{first.height}",
        prompts=_kept(run.generation.prompt for run in runs),
        mflux_version=version("mflux"),
        date=date.today().isoformat(),
        r2=_rounded(r_squared(polynomial, changes)),
        r2_held_out=held_out,
        distilled=target.distilled,
        note=f"Fitted to {_images(len(runs))}{predicts}. The threshold skips about every other step: look at "
        f"--plugin shadow before relying on it.",
    )


def _kept(prompts: Iterable[str]) -> tuple[str, ...]:
    """The first of those that say something, each once."""
    spoken = (prompt.strip()[:_LONGEST_PROMPT] for prompt in prompts)
    return tuple(dict.fromkeys(filter(None, spoken)))[:_MOST_PROMPTS]


def _told(found: Calibration, images: int) -> str:
    """What the file holds, and what it is worth."""
    fitted = f"fitted to {_images(images)}"
    if found.r2 is None:
        return f"{fitted}, whose changes are all alike: it says nothing of others"
    more = ""
    if found.is_poor:
        more = f". {BETTER}"
    elif images == 1:
        more = ". More images in one run show how it does on others"
    return f"{fitted}: it {found.fit_in_words}{more}"


def _images(count: int) -> str:
    return f"{count} {'image' if count == 1 else 'images'}"


def _rounded(r2: float) -> float | None:
    """``None`` where there was nothing to explain: every change alike."""
    return round(r2, 4) if math.isfinite(r2) else None
