"""The plugin ``first-block-cache``: run block 0 in every step, and the others only if its residual has moved.

Needs no calibration. Method: first-block cache of ParaAttention, https://github.com/chengzeyi/ParaAttention, with its
knobs: threshold, warm-up steps (here ``--first-block-cache-skip-first``), and a forecast of the residual. It has no
window at the end and no cap on skips in a row.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.strategy import COMMON, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import Step, Target

if TYPE_CHECKING:
    import mlx.core as mx

DEFAULTS = Limits(skip_first=1, skip_last=0, max_skips=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What stays the same during one image.

    Attributes:
        threshold: steps are skipped while the change is below it; 0 never skips.
        limits: windows and cap.
    """

    threshold: float
    limits: Limits = DEFAULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one step hands to the next; the default is a new image.

    Attributes:
        skips: steps skipped since the last computed one.
    """

    skips: int = 0


def decide(state: State, change: float | None, step: int, total: int, config: Config) -> Verdict[State]:
    """Compute or reuse in one step.

    Args:
        state: the previous verdict's ``state``; ``State()`` in the first step.
        change: relative L1 change of block 0's residual since the last *computed* step; ``None`` if there was none.
        step: index of the step, from 0.
        total: how many steps the run has.
        config: threshold and limits.
    """
    new = State()
    if change is None:
        return Verdict(kind="force", reason="nothing to compare with", state=new)
    if not math.isfinite(change):
        return Verdict(kind="compute", reason="change not finite", state=new, change=change, drop_cache=True)
    if window := config.limits.window(step, total):
        return Verdict(kind="force", reason=window, state=new, change=change)
    if change >= config.threshold:
        return Verdict(kind="compute", reason="first block moved", state=new, change=change)
    if cap := config.limits.cap(state.skips):
        return Verdict(kind="force", reason=cap, state=new, change=change)
    return Verdict(kind="reuse", reason="first block near", state=State(skips=state.skips + 1), change=change)


class FirstBlockCache(Strategy[State]):
    """Skips the body after block 0 while block 0's residual stays near that of the last computed step."""

    name = "first-block-cache"
    title = "First-block cache"
    about = replace(
        COMMON,
        description="Runs block 0 in every step, and the other blocks only if its residual has moved.",
        threshold="thresh",
        default_threshold=0.08,
        residual_after=1,
        grid={"thresh": (0.04, 0.08, 0.15, 0.3), "forecast": (0, 1)},
    )
    defaults = DEFAULTS
    skips_while = "the first block's residual has changed by less than this since the last computed step"
    first = State()

    _config: Config
    _reference: mx.array | None = None

    def attach(self, options: argparse.Namespace, target: Target) -> None:
        self._config = Config(threshold=self.threshold or 0.0, limits=self.limits)

    def judge(self, step: Step) -> Verdict[State]:
        # Reference images hardly change from step to step: they would hide the change of the image being made.
        signal = step.target_part(step.first_block_residual)
        change = None if self._reference is None else step.relative_l1(signal, self._reference)
        verdict = decide(self.state, change, step.index, step.active_steps, self._config)
        # Against the last computed step and not the one before: so a slow drift adds up, and is noticed.
        if verdict.kind != "reuse":
            self._reference = signal
        return verdict

    def forget(self) -> None:
        self._reference = None
