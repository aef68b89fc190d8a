"""The plugin ``first-block-cache``: run block 0 in every step, and the others only if its residual has moved.

Needs no calibration. Method: first-block cache of ParaAttention, https://github.com/chengzeyi/ParaAttention.
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from mflux_teacache.errors import Refused
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.option_types import threshold
from mflux_teacache.records import Body, Decision, Step, Target

if TYPE_CHECKING:
    import mlx.core as mx


def may_reuse(change: float, threshold: float) -> bool:
    """Whether block 0's residual has moved little enough since the last computed step; NaN never has."""
    return change < threshold


class FirstBlockCache:
    """Skips the body after block 0 while block 0's residual stays near that of the last computed step."""

    residual_after = 1

    def __init__(self) -> None:
        self._threshold = math.nan
        self._forget()

    def _forget(self) -> None:
        self._reference: mx.array | None = None
        self._residuals: tuple[mx.array, ...] = ()

    @staticmethod
    @hookimpl
    def mflux_add_options(group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--first-block-cache-thresh",
            type=threshold,
            default=0.08,
            metavar="FLOAT",
            help="skip while the first block's residual has changed by less than this since the last computed step; "
            "higher = faster, further from the full run; 0 never skips (default: %(default)s)",
        )

    @hookimpl
    def mflux_check(self, target: Target) -> None:
        if target.active_steps is not None and target.active_steps < 2:
            raise Refused(
                f"First-block cache always computes the first step, which leaves nothing to skip of a run of "
                f"{target.active_steps}. It takes at least 2 active steps; image-to-image runs fewer than --steps says."
            )

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace) -> None:
        self._threshold = options.thresh

    @hookimpl
    def mflux_generation_start(self) -> None:
        self._forget()

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        # Reference images hardly change from step to step: they would hide the change of the image being made.
        signal = step.target_part(step.first_block_residual)
        if self._reference is None:
            self._reference = signal
            return Decision.compute("nothing to compare with", forced=True, threshold=self._threshold)
        change = step.relative_l1(signal, self._reference)
        if may_reuse(change, self._threshold):
            return Decision.reuse(self._residuals, "first block near", change=change, threshold=self._threshold)
        self._reference = signal
        return Decision.compute("first block moved", change=change, threshold=self._threshold)

    @hookimpl
    def mflux_post_transformer(self, body: Body) -> None:
        # Also after a skipped step: a branch that had no fitting residual was computed and has a new one.
        self._residuals = body.residuals

    @hookimpl
    def mflux_generation_end(self) -> None:
        self._forget()
