"""The plugin ``taylorseer``: compute at a fixed interval, and predict what the transformer returns in between.

Needs no calibration and reads no signal. Method: TaylorSeer, Liu et al., "From Reusing to Forecasting: Accelerating
Diffusion Models with TaylorSeers", arXiv 2503.06923. Interval, warm-up and order are the defaults of its
implementation in diffusers (``TaylorSeerCacheConfig``: 5, 3 and 1), the order that of residuals. Different here: one
output of the whole transformer is predicted, or one residual of its body, and not the output of every block, which
takes less memory; and the polynomial runs in the noise level and not in the step's index, within the bound of
``mflux_teacache.pieces.forecast``; and the last step, the longest one in noise level, is computed.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.option_types import count_from
from mflux_teacache.pieces.strategy import COMMON, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import Target
from mflux_teacache.step import Step

DEFAULTS = Limits(skip_first=3, skip_last=1)


def decide(skips: int, interval: int) -> Verdict:
    """Compute or reuse in one step.

    Args:
        skips: steps skipped since the last computed one.
        interval: of the computed steps: 5 skips 4 in a row.
    """
    if skips == interval - 1:
        return Verdict(kind="compute", reason=f"every {interval} steps")
    return Verdict(kind="reuse", reason="between computed steps")


class TaylorSeer(Strategy):
    """Skips all but every n-th step, with a forecast of what is reused."""

    name = "taylorseer"
    title = "TaylorSeer"
    about = replace(
        COMMON,
        description="Computes every n-th step, and predicts the output in between.",
        cap=None,
        reuses="output",
        grid={"interval": (2, 3, 4, 5), "forecast": (2,)},  # it is its forecast
    )
    defaults = DEFAULTS
    order = 1

    _interval: int

    @classmethod
    def add_options(cls, group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--taylorseer-interval",
            type=count_from(2),
            default=5,
            metavar="N",
            help="compute every N-th step after the first ones; higher = faster, further from the full run "
            "(default: %(default)s)",
        )

    def attach(self, options: argparse.Namespace, target: Target) -> None:
        self._interval = options.interval

    def judge(self, step: Step) -> Verdict:
        return decide(self.progress.skips, self._interval)
