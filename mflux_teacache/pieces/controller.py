"""What is done in one step: what a strategy's rule says, within what its image is held to. Pure, no mlx.

The rule is any strategy's, and says what it would do. What all of them have in common is decided here: windows at both
ends, a cap on skips in a row, numbers that went bad, nothing to reuse, and whether a running number reaches what it is
held against. That is a threshold (``Bounds``), or the share of an exact budget (``pieces/budget.py``).

A higher threshold never skips fewer steps of the same predictions: the later a step is computed and the higher the
threshold, the later the next one is computed. Which steps are skipped can differ, though: a single step may be computed
at a higher threshold and skipped at a lower one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from mflux_teacache.pieces.verdict import Progress, Verdict

# Of what a number grew by, so many steps are remembered. Of 1, 2, 3, 5 and all steps seen, one or three came closest to
# the best split on the recorded traces (FLUX.1 Krea and the demo's model, 28 steps); after a single odd step one goes
# wrong.
RECENT = 3

# More than any change that a run could have; and whatever a run adds up of it stays finite.
_LARGEST = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the steps of one image are held to, and a running number to a threshold.

    Attributes:
        total: steps of the run.
        skip_first, skip_last: steps at the ends that are always computed.
        max_skips: consecutive steps that may be skipped.
        threshold: steps are skipped while the number is below it; 0 never skips.
    """

    total: int
    skip_first: int = 1
    skip_last: int = 1
    max_skips: int = 8
    threshold: float = 0.0

    @property
    def first(self) -> int:
        """Steps at the start that are computed."""
        return self.skip_first

    def window(self, step: int) -> str | None:
        """Why a step lies in a window; ``None`` if it does not."""
        if step < self.first:
            return "first steps"
        return "last steps" if step >= self.total - self.skip_last else None

    def weigh(self, state: Progress, verdict: Verdict, reading: Reading, step: int) -> Verdict:
        """Compute or reuse in a step between the windows, by its number."""
        reached = reading.number >= self.threshold
        reason = f"{verdict.reason} {'reached' if reached else 'under'} the threshold"
        return replace(verdict, kind="compute" if reached else "reuse", reason=reason)

    def is_exceeded(self, state: Progress, step: int) -> bool:
        """Whether a step that is computed takes more than was asked for."""
        return False


def unlimited(total: int) -> Bounds:
    """Of a strategy that plans the image beforehand, and has in its plan what there is to hold."""
    return Bounds(total=total, skip_first=0, skip_last=0, max_skips=total)


class Reading(NamedTuple):
    """A running number in one step.

    Attributes:
        number: as it stands with this step.
        growth: what the step brought, from 0.
    """

    number: float
    growth: float


def judge(state: Progress, verdict: Verdict, step: int, bounds: Bounds) -> Verdict:
    """What is done in a step: compute, force or reuse.

    Args:
        state: of the image before this step: what this function returned for the step before, in ``state``.
        verdict: the rule's.
        step: its index, from 0.
        bounds: what the image is held to.

    Returns:
        The verdict with what is done, why, and the ``state`` to hand on.
    """
    told = _trusted(verdict)
    reading = _read(state, told)
    decided = _within(state, told, reading, step, bounds)
    if decided.kind != "reuse" and bounds.is_exceeded(state, step):
        decided = replace(decided, reason=f"{decided.reason}: computed beyond the budget")
    return replace(decided, state=_after(state, decided, reading))


def _trusted(verdict: Verdict) -> Verdict:
    """A number that is not finite cannot be weighed, and this step's residual comes from the same latents."""
    number = verdict.change if verdict.prediction is None else verdict.prediction
    if verdict.kind != "weigh" or number is None or math.isfinite(number):
        return verdict
    reason = "change or prediction not finite"
    return replace(verdict, kind="force", reason=reason, prediction=None, drop_cache=True, keep=False)


def _read(state: Progress, verdict: Verdict) -> Reading | None:
    """The number with this step: a sum where there is a prediction, and else the change, which is no sum."""
    if verdict.prediction is not None and math.isfinite(verdict.prediction):
        growth = min(verdict.prediction, _LARGEST)
        return Reading(state.number + growth, growth)
    if verdict.kind == "weigh" and verdict.change is not None:
        number = min(verdict.change, _LARGEST)
        return Reading(number, max(0.0, number - state.number))
    return None


def _within(state: Progress, verdict: Verdict, reading: Reading | None, step: int, bounds: Bounds) -> Verdict:
    if window := bounds.window(step):  # what went bad drops the cache there as well, and says so
        return replace(verdict, kind="force", reason=verdict.reason if verdict.drop_cache else window)
    if verdict.drop_cache:
        return verdict
    if verdict.kind == "weigh" and reading is None:
        return replace(verdict, kind="force", reason="nothing to compare with")
    if verdict.kind in ("weigh", "reuse") and not state.cached:
        return replace(verdict, kind="force", reason="nothing to reuse")
    if reading is not None and verdict.prediction is not None:
        verdict = replace(verdict, running_sum=reading.number)
    if verdict.kind == "weigh" and reading is not None:
        verdict = bounds.weigh(state, verdict, reading, step)
    # Last, so that its reason is given only where the cap is what stood in the way.
    if verdict.kind == "reuse" and state.skips >= bounds.max_skips:
        return replace(verdict, kind="force", reason=f"{bounds.max_skips} skips in a row")
    return verdict


def _after(state: Progress, decided: Verdict, reading: Reading | None) -> Progress:
    recent = state.recent if reading is None else (*state.recent, reading.growth)[-RECENT:]
    if decided.kind == "reuse":
        number = state.number if reading is None else reading.number
        return replace(state, skips=state.skips + 1, number=number, recent=recent)
    cached = decided.keep or (state.cached and not decided.drop_cache)
    return Progress(computed=state.computed + 1, cached=cached, recent=recent)
