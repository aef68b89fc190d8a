"""Whether a step is computed or skipped: a strategy's rule, within the limits of the image. Pure, no mlx.

The rule belongs to a strategy and says what it would do. Whatever all strategies have in common is decided here:
windows at both ends, a cap on skips in a row, numbers that are not finite, a cache with nothing to reuse, and whether a
running number has reached its limit. That limit is a threshold (``Bounds``), or the share of an exact budget
(``pieces/budget.py``).

A higher threshold never skips fewer steps of the same predictions: the later a step is computed and the higher the
threshold, the later the next one is computed. Which steps are skipped can differ, though: a single step may be computed
at a higher threshold and skipped at a lower one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from mflux_teacache.pieces.verdict import Progress, Verdict

# For how many steps the growth of a number is remembered. Of 1, 2, 3, 5 and all steps so far, 1 or 3 came closest to
# the best split on the recorded traces (FLUX.1 Krea and the demo's model, 28 steps), but 1 goes wrong after a single
# odd step.
RECENT = 3

# More than any change that a run could have, yet small enough that the sum over a whole run stays finite.
_LARGEST = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The limits of one image: windows, a cap, and a threshold for the running number.

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
        """How many steps at the start are computed."""
        return self.skip_first

    def window(self, step: int) -> str | None:
        """Why a step lies in a window; ``None`` if it does not."""
        if step < self.first:
            return "first steps"
        return "last steps" if step >= self.total - self.skip_last else None

    def weigh(self, state: Progress, verdict: Verdict, reading: Reading, step: int) -> Verdict:
        """Decide by its number whether a step between the windows is computed or reused."""
        reached = reading.number >= self.threshold
        reason = f"{verdict.reason} {'reached' if reached else 'under'} the threshold"
        return replace(verdict, kind="compute" if reached else "reuse", reason=reason)

    def is_exceeded(self, state: Progress, step: int) -> bool:
        """Whether computing a step exceeds what was asked for."""
        return False


def unlimited(total: int) -> Bounds:
    """Bounds for a strategy that plans the image beforehand, so that its plan already keeps all limits."""
    return Bounds(total=total, skip_first=0, skip_last=0, max_skips=total)


class Reading(NamedTuple):
    """A running number in one step.

    Attributes:
        number: its value, including this step.
        growth: how much this step added, at least 0.
    """

    number: float
    growth: float


def judge(state: Progress, verdict: Verdict, step: int, bounds: Bounds) -> Verdict:
    """Decide about a step: compute, force or reuse.

    Args:
        state: the image's state before this step, which is the ``state`` that this function returned for the last one.
        verdict: the rule's verdict.
        step: the index of the step, from 0.
        bounds: the limits of the image.

    Returns:
        The verdict with the decision, its reason, and the ``state`` for the next step.
    """
    told = _trusted(verdict)
    reading = _read(state, told)
    decided = _within(state, told, reading, step, bounds)
    if decided.kind != "reuse" and bounds.is_exceeded(state, step):
        decided = replace(decided, reason=f"{decided.reason}: computed beyond the budget")
    return replace(decided, state=_after(state, decided, reading))


def _trusted(verdict: Verdict) -> Verdict:
    """The verdict, unless its number is not finite: then the step is computed and the cache dropped."""
    number = verdict.change if verdict.prediction is None else verdict.prediction
    if verdict.kind != "weigh" or number is None or math.isfinite(number):
        return verdict
    reason = "change or prediction not finite"
    # Nothing of this step is kept, since its residual comes from the same latents as the number.
    return replace(verdict, kind="force", reason=reason, prediction=None, drop_cache=True, keep=False)


def _read(state: Progress, verdict: Verdict) -> Reading | None:
    """The running number including this step: a sum if there is a prediction, else the change as it is."""
    if verdict.prediction is not None and math.isfinite(verdict.prediction):
        growth = min(verdict.prediction, _LARGEST)
        return Reading(state.number + growth, growth)
    if verdict.kind == "weigh" and verdict.change is not None:
        number = min(verdict.change, _LARGEST)
        return Reading(number, max(0.0, number - state.number))
    return None


def _within(state: Progress, verdict: Verdict, reading: Reading | None, step: int, bounds: Bounds) -> Verdict:
    if window := bounds.window(step):
        # A number that is not finite drops the cache in a window too, and its reason is the one worth knowing.
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
    # The cap comes last, so that it is given as the reason only if the step would otherwise have been skipped.
    if verdict.kind == "reuse" and state.skips >= bounds.max_skips:
        return replace(verdict, kind="force", reason=f"{bounds.max_skips} skips in a row")
    return verdict


def _after(state: Progress, decided: Verdict, reading: Reading | None) -> Progress:
    recent = state.recent if reading is None else (*state.recent, reading.growth)[-RECENT:]
    if decided.kind == "reuse":
        number = state.number if reading is None else reading.number
        return replace(state, skips=state.skips + 1, number=number, recent=recent)
    cached = decided.keep or (state.cached and not decided.drop_cache)
    # A new object: a computed step resets the number and the skips in a row to their defaults.
    return Progress(computed=state.computed + 1, cached=cached, recent=recent)
