"""Skip or compute: MagCache's rule as a pure function on floats. No mlx.

Method: Ma et al., "MagCache: Fast Video Generation with Magnitude-Aware Cache", arXiv 2506.09045,
https://github.com/Zehong-Ma/MagCache. Over a full run the magnitude of the residual changes from step to step by a
ratio that hardly depends on prompt and seed. The product of the ratios since the last computed step tells how far the
cached residual's magnitude is off; steps are skipped while the sum of these errors stays under a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What stays the same during one image.

    Attributes:
        ratios: one per step: magnitude of its residual over that of the step before; the first is not used.
        threshold: steps are skipped while the summed error is below it; 0 never skips.
        limits: windows and cap. The source calls the first window the retention ratio, and the cap K.
        always: steps that are computed whatever the sum.

    Raises:
        OptionError: a ratio or the threshold outside of what is allowed.
    """

    ratios: tuple[float, ...]
    threshold: float
    limits: Limits
    always: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not all(math.isfinite(ratio) and ratio > 0 for ratio in self.ratios):
            raise OptionError(f"MagCache's ratios are {self.ratios}; they must be finite numbers above 0.")
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise OptionError(f"MagCache's threshold is {self.threshold}; it must be a finite number from 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one step hands to the next; the default is a new image.

    Attributes:
        ratio: magnitude of this step's residual over that of the last computed one.
        error: ``abs(1 - ratio)``, added up since then.
        skips: steps skipped since then.
    """

    ratio: float = 1.0
    error: float = 0.0
    skips: int = 0


def decide(state: State, step: int, total: int, config: Config) -> Verdict[State]:
    """Compute or reuse in one step.

    Args:
        state: the previous verdict's ``state``; ``State()`` in the first step.
        step: index of the step, from 0.
        total: how many steps the run has.
        config: ratios, threshold and limits.
    """
    if window := config.limits.window(step, total):
        return Verdict(kind="force", reason=window, state=State())
    ratio = state.ratio * config.ratios[step]
    change = abs(1 - ratio)
    error = state.error + change
    if step in config.always:
        reason = "a step that is always computed"
        return Verdict(kind="force", reason=reason, state=State(), prediction=change, running_sum=error)
    if error >= config.threshold:
        reason = "error reached the threshold"
        return Verdict(kind="compute", reason=reason, state=State(), prediction=change, running_sum=error)
    if cap := config.limits.cap(state.skips):
        return Verdict(kind="force", reason=cap, state=State(), prediction=change, running_sum=error)
    skipped = State(ratio=ratio, error=error, skips=state.skips + 1)
    return Verdict(
        kind="reuse", reason="error under the threshold", state=skipped, prediction=change, running_sum=error
    )


def stretch(ratios: Sequence[float], steps: int) -> tuple[float, ...]:
    """A table for another number of steps, as its authors do it: each step takes its nearest neighbour's ratio."""
    return tuple(ratios[place] for place in _nearest(len(ratios), steps))


def stretch_steps(always: Collection[int], length: int, steps: int) -> frozenset[int]:
    """Which of ``steps`` steps have their nearest neighbour among these of a run of ``length``."""
    computed = frozenset(always)
    return frozenset(step for step, place in enumerate(_nearest(length, steps)) if place in computed)


def _nearest(length: int, steps: int) -> list[int]:
    """For each of ``steps`` steps the nearest of ``length``, halves to the even one; the last for a single step."""
    if steps == 1:
        return [length - 1]
    return [round(step * ((length - 1) / (steps - 1))) for step in range(steps)]
