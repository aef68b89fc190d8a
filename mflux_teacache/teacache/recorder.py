"""The plugin ``teacache-record`` measures full runs, and writes the calibration that ``teacache`` takes.

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
from mflux_teacache.teacache.calibration import BETTER, FILES, MOST_CHANGES, Calibration
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

# With fewer than four changes for each coefficient, a fit follows the noise of the images rather than the model.
FEWEST_CHANGES = 4 * (DEGREE + 1)

# How much a file keeps of the prompts. They only show of what kind they were, and a hundred long ones would not fit.
_MOST_PROMPTS = 64
_LONGEST_PROMPT = 1000

# The threshold in mean predicted changes. The sum stays below it for one skipped step, and exceeds it at the next one.
_EVERY_OTHER_STEP = 1.5


@dataclass(slots=True, eq=False)
class _Image:
    """The image in the making.

    Attributes:
        now: the arrays that were observed in the last step.
        changes: the changes of all steps so far, except the first.
        whole: no step was skipped.
        branches: the numbers of the last step's branches; ``None`` before the first step.
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
            # Other branches, as after guidance has ended, are no change of the model: NaN leaves the image out.
            same = branches_before == self.branches
            self.changes.append(change(step, self.now, before) if same else Change(math.nan, math.nan))


@dataclass(frozen=True, slots=True)
class _Run:
    """An image that counts."""

    generation: Generation
    changes: tuple[Change, ...]


class TeaCacheRecord(Recording[_Image, _Run]):
    """Observes full runs, and after each image fits a polynomial to all images so far."""

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
        # Only once, since the next image of the run may well bring it.
        if not self._said_what_is_missing:
            more = math.ceil((FEWEST_CHANGES - changes) / of_each)
            self.say(
                f"nothing written yet: a fit takes {FEWEST_CHANGES} changes from step to step, and this run has "
                f"{changes} so far. It takes {counted(more)} more, such as with --seed 1 2 3; or more steps"
            )
        self._said_what_is_missing = True

    def _calibration(self, runs: Sequence[_Run], changes: Sequence[Change]) -> Calibration:
        """The calibration of these runs, of which ``changes`` are all the changes.

        Its threshold is a place to start from and no judgement.
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
            changes=tuple((_short(each.signal), _short(each.residual)) for each in changes[:MOST_CHANGES]),
            note=f"Fitted to {counted(len(runs))}{predicts}. The threshold skips about every other step: look at "
            f"--plugin shadow before relying on it.",
        )


def _short(change: float) -> float:
    return float(f"{change:.5g}")


def _kept(prompts: Iterable[str]) -> tuple[str, ...]:
    """The first of the prompts that are not blank, each once."""
    spoken = (prompt.strip()[:_LONGEST_PROMPT] for prompt in prompts)
    return tuple(dict.fromkeys(filter(None, spoken)))[:_MOST_PROMPTS]


def _told(found: Calibration, images: int) -> str:
    """What the file holds, and how good that is."""
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
    """R2 to four digits; ``None`` if all changes were alike, so that there was nothing to explain."""
    return round(r2, 4) if math.isfinite(r2) else None
