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

import mlx.core as mx

from mflux_teacache.about import About
from mflux_teacache.pieces.recorder import Recording, counted
from mflux_teacache.records import Generation
from mflux_teacache.step import Body, Step
from mflux_teacache.teacache.calibration import BETTER, FILES, Calibration
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

    @property
    def steps(self) -> int:
        return len(self.changes) + 1

    @property
    def problem(self) -> str | None:
        if not self.whole:
            return "a step was skipped, and what is reused does not change"
        if not all(math.isfinite(value) for change in self.changes for value in change):
            return "a signal or residual has another shape than the step before's, or is zero or not finite"
        return None

    def measure(self, step: Step, body: Body) -> None:
        before, self.now = self.now, observed(step, body)
        branches_before, self.branches = self.branches, tuple(branch.index for branch in body.branches)
        self.whole &= body.computed
        if before:
            same = branches_before == self.branches
            self.changes.append(change(step, self.now, before) if same else Change(math.nan, math.nan))


@dataclass(frozen=True, slots=True)
class _Run:
    """An image that counts."""

    generation: Generation
    changes: tuple[Change, ...]


class TeaCacheRecord(Recording[_Image, _Run]):
    """Observes full runs, and fits after each image to all images so far."""

    name = "teacache-record"
    about = About(
        kind="recorder",
        description="Measures full runs, and writes the calibration that teacache takes.",
        keeps_images_apart=True,
    )
    default = "teacache-calibration.json"
    what = "fitted to"
    noun = "calibration"
    image = _Image
    files = FILES

    _said_what_is_missing = False

    def run_of(self, image: _Image, generation: Generation) -> _Run:
        return _Run(generation, tuple(image.changes))

    def write(self, runs: Sequence[_Run]) -> None:
        changes = [change for run in runs for change in run.changes]
        if len(changes) < FEWEST_CHANGES:
            self._say_what_is_missing(len(changes), len(runs[-1].changes))
        elif problem := unfit(changes):
            self.warn(f"has written nothing: {problem}")
        else:
            found = self._calibration(runs, changes)
            self.write_file(found, _told(found, len(runs)))

    def _say_what_is_missing(self, changes: int, of_each: int) -> None:
        """Once: the next image of the run may bring it."""
        if not self._said_what_is_missing:
            more = math.ceil((FEWEST_CHANGES - changes) / of_each)
            self.say(
                f"nothing written yet: a fit takes {FEWEST_CHANGES} changes from step to step, and this run has "
                f"{changes} so far. It takes {counted(more)} more, such as with --seed 1 2 3; or more steps"
            )
        self._said_what_is_missing = True

    def _calibration(self, runs: Sequence[_Run], changes: Sequence[Change]) -> Calibration:
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
        return Calibration(
            **self.made_with(),
            signal="modulated_input",
            rows="target",
            polynomial=polynomial,
            range=(min(signals), max(signals)),
            threshold=float(f"{max(0.0, _EVERY_OTHER_STEP * mean):.3g}"),
            steps=first.num_inference_steps,
            guidance=first.guidance if math.isfinite(first.guidance) else None,
            quantize=self._target.quantize or 16,
            size=f"{first.width}x{first.height}",
            prompts=_kept(run.generation.prompt for run in runs),
            mflux_version=version("mflux"),
            date=date.today().isoformat(),
            r2=_rounded(r_squared(polynomial, changes)),
            r2_held_out=held_out,
            distilled=self._target.distilled,
            note=f"Fitted to {counted(len(runs))}{predicts}. The threshold skips about every other step: look at "
            f"--plugin shadow before relying on it.",
        )


def _kept(prompts: Iterable[str]) -> tuple[str, ...]:
    """The first of those that say something, each once."""
    spoken = (prompt.strip()[:_LONGEST_PROMPT] for prompt in prompts)
    return tuple(dict.fromkeys(filter(None, spoken)))[:_MOST_PROMPTS]


def _told(found: Calibration, images: int) -> str:
    """What the file holds, and what it is worth."""
    fitted = f"fitted to {counted(images)}"
    if found.r2 is None:
        return f"{fitted}, whose changes are all alike: it says nothing of others"
    more = ""
    if found.is_poor:
        more = f". {BETTER}"
    elif images == 1:
        more = ". More images in one run show how it does on others"
    return f"{fitted}: it {found.fit_in_words}{more}"


def _rounded(r2: float) -> float | None:
    """``None`` where there was nothing to explain: every change alike."""
    return round(r2, 4) if math.isfinite(r2) else None
