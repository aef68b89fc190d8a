"""Skip or compute: EasyCache's rule as a pure function on floats. No mlx.

Method: Zhou et al., "Less is Enough: Training-Free Video Diffusion Acceleration via Runtime-Adaptive Caching",
arXiv 2507.02860, https://github.com/H-EmbodVis/EasyCache. The *transformation rate* is the change of the output over
the change of the input between the last two computed steps. It is taken to stay what it is, so that the input's
change since the step before (skipped or not) predicts the output's, as a share of the last computed output. Steps
are skipped while the sum of these shares since the last computed step stays under a threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.verdict import Verdict

# Threshold and windows of the EasyCache node of ComfyUI, which covers image models; the authors use 0.025 to 0.06 on
# video models, with 5 to 10 warm-up steps and the last step computed. Neither has a cap on skips in a row.
THRESHOLD = 0.2
DEFAULTS = Limits(skip_first=0.15, skip_last=0.05, max_skips=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What stays the same during one image.

    Attributes:
        threshold: steps are skipped while the running sum is below it; 0 never skips.
        limits: windows and cap.

    Raises:
        OptionError: the threshold is not a finite number from 0.
    """

    threshold: float = THRESHOLD
    limits: Limits = DEFAULTS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise OptionError(f"EasyCache's threshold is {self.threshold}; it must be a finite number from 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one step hands to the next; the default is a new image.

    Attributes:
        running_sum: predicted shares added up since the last computed step.
        skips: steps skipped since then.
        rate: the transformation rate; ``None`` until two steps have been computed.
        size: mean absolute value of the last computed output; ``None`` until one has been computed.
    """

    running_sum: float = 0.0
    skips: int = 0
    rate: float | None = None
    size: float | None = None


def learn(state: State, size: float, output_change: float | None = None, input_change: float | None = None) -> State:
    """The state after a step was computed.

    Args:
        state: the step's verdict's.
        size: mean absolute value of its output.
        output_change, input_change: mean absolute change of output and input since the computed step before it;
            ``None`` if there was none.
    """
    if output_change is None or input_change is None:
        return replace(state, size=size)
    return replace(state, size=size, rate=output_change / input_change if input_change else math.inf)


def decide(state: State, input_change: float | None, step: int, total: int, config: Config) -> Verdict[State]:
    """Compute or reuse in one step.

    Args:
        state: the previous verdict's ``state``, with what ``learn`` made of it; ``State()`` in the first step.
        input_change: mean absolute change of the input since the step before; ``None`` if there was none.
        step: index of the step, from 0.
        total: how many steps the run has.
        config: threshold and limits.
    """
    computed = replace(state, running_sum=0.0, skips=0)
    if window := config.limits.window(step, total):
        return Verdict(kind="force", reason=window, state=computed)
    if input_change is None or state.rate is None or state.size is None:
        return Verdict(kind="force", reason="rate not known yet", state=computed)
    # An output whose size overflowed makes every change a share of nothing.
    prediction = state.rate * (input_change / state.size) if 0 < state.size < math.inf else math.nan
    if not math.isfinite(prediction):
        # What was learned comes from the same numbers: learn anew.
        return Verdict(kind="compute", reason="prediction not finite", state=State(), drop_cache=True)
    running_sum = state.running_sum + prediction
    if running_sum >= config.threshold:
        reason = "predicted change reached the threshold"
        return Verdict(kind="compute", reason=reason, state=computed, prediction=prediction, running_sum=running_sum)
    if cap := config.limits.cap(state.skips):
        return Verdict(kind="force", reason=cap, state=computed, prediction=prediction, running_sum=running_sum)
    return Verdict(
        kind="reuse",
        reason="predicted change under the threshold",
        state=replace(state, running_sum=running_sum, skips=state.skips + 1),
        prediction=prediction,
        running_sum=running_sum,
    )
