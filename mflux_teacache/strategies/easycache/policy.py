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

from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.verdict import Verdict

# Threshold and windows of the EasyCache node of ComfyUI, which covers image models; the authors use 0.025 to 0.06 on
# video models, with 5 to 10 warm-up steps and the last step computed. Neither has a cap on skips in a row.
THRESHOLD = 0.2
DEFAULTS = Limits(skip_first=0.15, skip_last=0.05, max_skips=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the computed steps have shown; the default is a new image.

    Attributes:
        rate: the transformation rate; ``None`` until two steps have been computed.
        size: mean absolute value of the last computed output; ``None`` until one has been computed.
    """

    rate: float | None = None
    size: float | None = None


def learn(
    before: Learned, size: float, output_change: float | None = None, input_change: float | None = None
) -> Learned:
    """What is known after a step was computed.

    Args:
        before: what was known before it.
        size: mean absolute value of its output.
        output_change, input_change: mean absolute change of output and input since the computed step before it;
            ``None`` if there was none.
    """
    if output_change is None or input_change is None:
        return replace(before, size=size)
    return Learned(size=size, rate=output_change / input_change if input_change else math.inf)


def decide(learned: Learned, input_change: float | None) -> Verdict:
    """Predict one step's change, which is left to the threshold, or to a budget. Where it drops, learn anew.

    Args:
        learned: from the computed steps so far.
        input_change: mean absolute change of the input since the step before; ``None`` if there was none.
    """
    if input_change is None or learned.rate is None or learned.size is None:
        return Verdict(kind="force", reason="rate not known yet")
    # An output whose size overflowed makes every change a share of nothing.
    prediction = learned.rate * (input_change / learned.size) if 0 < learned.size < math.inf else math.nan
    if not math.isfinite(prediction):
        return Verdict(kind="compute", reason="prediction not finite", drop_cache=True)
    return Verdict(kind="weigh", reason="predicted change", prediction=prediction)
