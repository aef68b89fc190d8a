"""Skip or compute: TeaCache's rule as a pure function on floats. No mlx, no clock, no logging.

Before each step the signal's relative L1 change since the step before, skipped or not, goes through a
fitted polynomial: a prediction of how much the body's output will change. Steps are skipped while the sum
of the predictions since the last computed step stays under a threshold.

A higher threshold never skips fewer steps: the later a step is computed and the higher the threshold, the
later the next one is computed. Which steps are skipped can differ, though: a single step may be computed at a
higher threshold and skipped at a lower one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.verdict import Kind, Verdict

# Of a model whose calibration does not say otherwise.
DEFAULTS = Limits(skip_first=1, skip_last=1, max_skips=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """What stays the same during one image.

    Attributes:
        threshold: steps are skipped while the running sum is below it; 0 never skips.
        polynomial: coefficients from the highest power to the constant.
        lower: a smaller change counts as this one.
        upper: a larger change is computed, whatever the polynomial says.
        limits: windows and cap.

    Raises:
        OptionError: a value outside of what is allowed.
    """

    threshold: float
    polynomial: tuple[float, ...]
    lower: float = 0.0
    upper: float = math.inf
    limits: Limits = DEFAULTS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise OptionError(
                f"TeaCache's threshold is {self.threshold}; it must be a finite number from 0. Try 0.2; 0 never skips."
            )
        if not self.polynomial or not all(map(math.isfinite, self.polynomial)):
            raise OptionError(
                f"TeaCache's coefficients are {self.polynomial}; they must be at least one finite number, "
                f"from the highest power to the constant. (1.0, 0.0) takes the change as it is."
            )
        if not 0 <= self.lower <= self.upper:
            raise OptionError(
                f"TeaCache's range is {self.lower} to {self.upper}; it must start at 0 or more and not end "
                f"before that. 0 to infinity sets no limits."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyState:
    """What one step hands to the next; the default is a new image.

    Attributes:
        running_sum: predictions added up since the last computed step.
        skips: steps skipped since then.
        cached: a step was computed since the cache was last dropped, so there is something to reuse.
    """

    running_sum: float = 0.0
    skips: int = 0
    cached: bool = False


def decide(
    state: PolicyState, rel_l1: float | None, step: int, total: int, config: PolicyConfig
) -> Verdict[PolicyState]:
    """Compute or reuse in one step.

    A change or prediction that is not finite drops the cache, and this step's residual is not kept either: it comes
    from the same latents as the signal that went bad.

    Args:
        state: the previous verdict's ``state``; ``PolicyState()`` in the first step.
        rel_l1: relative L1 change of the signal since the step before; ``None`` if there was none.
        step: index of the step, from 0.
        total: how many steps the run has.
        config: threshold, polynomial and rules.
    """
    prediction = None if rel_l1 is None else predict(rel_l1, config)
    if prediction is not None and not math.isfinite(prediction):
        return Verdict(
            kind="force",
            reason="change or prediction not finite",
            state=PolicyState(),
            change=rel_l1,
            drop_cache=True,
            keep=False,
        )
    # Only now: a bad number drops the cache in the windows as well.
    rule = _rule(state, rel_l1, step, total, config)
    if rule is not None or prediction is None:
        return _computed("force", rule or "change above the calibrated range", rel_l1, prediction)
    running_sum = state.running_sum + prediction
    if running_sum >= config.threshold:
        return _computed("compute", "predicted change reached the threshold", rel_l1, prediction, running_sum)
    # Last, so that its reason is given only where the cap is what stood in the way.
    if cap := config.limits.cap(state.skips):
        return _computed("force", cap, rel_l1, prediction, running_sum)
    return Verdict(
        kind="reuse",
        reason="predicted change under the threshold",
        state=PolicyState(running_sum=running_sum, skips=state.skips + 1, cached=True),
        change=rel_l1,
        prediction=prediction,
        running_sum=running_sum,
    )


def _rule(state: PolicyState, rel_l1: float | None, step: int, total: int, config: PolicyConfig) -> str | None:
    """Why a step is computed whatever the polynomial says; ``None`` where it may be skipped."""
    if window := config.limits.window(step, total):
        return window
    if rel_l1 is None:
        return "nothing to compare with"
    if not state.cached:
        return "nothing to reuse"
    return None


def _computed(
    kind: Kind, reason: str, change: float | None, prediction: float | None, running_sum: float | None = None
) -> Verdict[PolicyState]:
    state = PolicyState(cached=True)
    return Verdict(kind=kind, reason=reason, state=state, change=change, prediction=prediction, running_sum=running_sum)


def predict(change: float, config: PolicyConfig) -> float | None:
    """The predicted change of the output, from 0.

    ``None`` for a change above the range; NaN or infinite where the change or the polynomial's value is.
    """
    if not math.isfinite(change):
        return change
    if change > config.upper:
        return None
    value = evaluate(config.polynomial, max(change, config.lower))
    # max(0.0, nan) is 0.0, which would skip.
    return max(0.0, value) if math.isfinite(value) else value


def evaluate(polynomial: Iterable[float], x: float) -> float:
    """A polynomial's value; coefficients from the highest power to the constant."""
    value = 0.0
    for coefficient in polynomial:
        value = value * x + coefficient
    return value
