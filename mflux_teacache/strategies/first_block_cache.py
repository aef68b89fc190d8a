"""The plugin ``first-block-cache``: run block 0 in every step, and the others only if its residual has moved.

Needs no calibration. Method: first-block cache of ParaAttention, https://github.com/chengzeyi/ParaAttention, with its
knobs: threshold, warm-up steps (here ``--first-block-cache-skip-first``), and a forecast of the residual. It has no
window at the end and no cap on skips in a row.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from mflux_teacache.pieces.budget import BUDGETS
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.strategy import COMMON, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.step import Body, Step

if TYPE_CHECKING:
    import mlx.core as mx

DEFAULTS = Limits(skip_first=1, skip_last=0, max_skips=8)


def decide(change: float | None) -> Verdict:
    """Compute a step whose change cannot be compared, and leave any other to the threshold, or to a budget.

    Args:
        change: relative L1 change of block 0's residual since the last *computed* step; ``None`` if there was none.
    """
    if change is not None and not math.isfinite(change):
        return Verdict(kind="compute", reason="change not finite", change=change, drop_cache=True)
    return Verdict(kind="weigh", reason="first block's change", change=change)


class FirstBlockCache(Strategy):
    """Skips the body after block 0 while block 0's residual stays near that of the last computed step."""

    name = "first-block-cache"
    title = "First-block cache"
    about = replace(
        COMMON,
        description="Runs block 0 in every step, and the other blocks only if its residual has moved.",
        threshold="thresh",
        default_threshold=0.08,
        budgets=BUDGETS,
        residual_after=1,
        grid={"thresh": (0.04, 0.08, 0.15, 0.3), "forecast": (0, 1)},
    )
    defaults = DEFAULTS
    skips_while = "the first block's residual has changed by less than this since the last computed step"

    _reference: mx.array | None = None

    def judge(self, step: Step) -> Verdict:
        signal = _signal(step)  # in each step, since a compiled model can take over what was read before it runs
        return decide(None if self._reference is None else step.relative_l1(signal, self._reference))

    def observe(self, step: Step, body: Body) -> None:
        # Against the last computed step and not the one before: so a slow drift adds up, and is noticed.
        if not body.branches[0].reused:
            self._reference = _signal(step)

    def forget(self) -> None:
        self._reference = None


def _signal(step: Step) -> mx.array:
    """Reference images hardly change from step to step: they would hide the change of the image being made."""
    return step.target_part(step.first_block_residual)
