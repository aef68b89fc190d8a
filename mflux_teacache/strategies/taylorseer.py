"""The plugin ``taylorseer``: compute at a fixed interval, and predict the residual in between.

Needs no calibration and reads no signal. Method: TaylorSeer, Liu et al., "From Reusing to Forecasting: Accelerating
Diffusion Models with TaylorSeers", arXiv 2503.06923. Interval, warm-up and order are the defaults of its
implementation in diffusers (``TaylorSeerCacheConfig``: 5, 3 and 1). Different here: one residual of the whole
body is predicted and not the output of every block, which takes less memory; and the polynomial runs in the
noise level and not in the step's index, within the bound of ``mflux_teacache.pieces.forecast``; and the last step, the
longest one in noise level, is computed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.option_types import count_from
from mflux_teacache.pieces.strategy import COMMON, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import Step, Target

DEFAULTS = Limits(skip_first=3, skip_last=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What stays the same during one image.

    Attributes:
        interval: of the computed steps: 5 skips 4 in a row.
        limits: windows; the one at the start is the warm-up.
    """

    interval: int = 5
    limits: Limits = DEFAULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one step hands to the next; the default is a new image.

    Attributes:
        skips: steps skipped since the last computed one.
    """

    skips: int = 0


def decide(state: State, step: int, total: int, config: Config) -> Verdict[State]:
    """Compute or reuse in one step.

    Args:
        state: the previous verdict's ``state``; ``State()`` in the first step.
        step: index of the step, from 0.
        total: how many steps the run has.
        config: interval and windows.
    """
    if window := config.limits.window(step, total):
        return Verdict(kind="force", reason=window, state=State())
    if state.skips == config.interval - 1:
        return Verdict(kind="compute", reason=f"every {config.interval} steps", state=State())
    return Verdict(kind="reuse", reason="between computed steps", state=State(skips=state.skips + 1))


class TaylorSeer(Strategy[State]):
    """Skips all but every n-th step, with a forecast of the body's residual."""

    name = "taylorseer"
    title = "TaylorSeer"
    about = replace(
        COMMON,
        description="Computes every n-th step, and predicts the residual in between.",
        cap=None,
        grid={"interval": (2, 3, 4, 5), "forecast": (1,)},  # it is its forecast
    )
    defaults = DEFAULTS
    order = 1
    first = State()

    _config: Config

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
        self._config = Config(interval=options.interval, limits=self.limits)

    def judge(self, step: Step) -> Verdict[State]:
        return decide(self.state, step.index, step.active_steps, self._config)
