"""The plugin ``sea``: SeaCache's rule on the base of strategies. Needs no calibration.

Method: Chung et al., "SeaCache: Spectral-Evolution-Aware Cache for Accelerating Diffusion Models", arXiv 2602.18993.
Block 0's modulated input is filtered for what is picture in it and not noise. The relative L1 change of the filtered
signal since the step before, skipped or not, is added up since the last computed step; steps are skipped while the sum
stays under a threshold.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from mflux_teacache.errors import Refused
from mflux_teacache.pieces.budget import BUDGETS
from mflux_teacache.pieces.data_files import calibration_free
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.strategy import COMMON, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import Target
from mflux_teacache.step import Step
from mflux_teacache.strategies.sea.filter import filtered

if TYPE_CHECKING:
    import mlx.core as mx


class SeaCache(Strategy):
    """Skips the transformer's body while what is picture in its input has changed little."""

    name = "sea"
    title = "SeaCache"
    about = replace(
        COMMON,
        description="Filters noise out of block 0's input by the noise level, and skips while the rest hardly changes.",
        threshold="thresh",
        default_threshold=0.3,  # the more careful of the two that are published for FLUX.1 [dev]
        grid={"thresh": (0.15, 0.3, 0.6, 1.2), "forecast": (0, 1)},
        budgets=BUDGETS,
    )
    defaults = Limits(skip_first=1, skip_last=1, max_skips=8)
    skips_while = "the change of the filtered input adds up to less than this"

    _previous: mx.array | None = None

    def check(self, options: argparse.Namespace, target: Target) -> None:
        if target.has_token_grid is False:
            raise Refused(_lacking("where the image's tokens are"))
        super().check(options, target)

    def judge(self, step: Step) -> Verdict:
        signal, before = _signal(step), self._previous
        self._previous = signal
        change = None if before is None else step.relative_l1(signal, before)
        return Verdict(kind="weigh", reason="filtered change", change=change, prediction=change)

    def forget(self) -> None:
        self._previous = None


def _signal(step: Step) -> mx.array:
    """``(batch, height, width, channels)`` in tokens, float32: the image being made, without text and references.

    Raises:
        Refused: the family does not tell where the image's tokens are, or how noisy the step is.
    """
    tokens, sigma = step.on_grid(step.modulated_input), step.sigma
    if tokens is None:
        raise Refused(_lacking("where the image's tokens are"))
    if sigma is None:
        raise Refused(_lacking("how noisy a step is"))
    return filtered(tokens, sigma)


def _lacking(what: str) -> str:
    others = ", ".join(name for name in calibration_free() if name != SeaCache.name)
    return (
        f"SeaCache needs to know {what}, which the entry for this model's transformer does not tell. Use a plugin that "
        f"need not know ({others})."
    )
