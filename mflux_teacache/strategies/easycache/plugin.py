"""The plugin ``easycache``: EasyCache's rule on the base of strategies. Needs no calibration."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import mlx.core as mx

from mflux_teacache.pieces.budget import BUDGETS
from mflux_teacache.pieces.distance import mean_change
from mflux_teacache.pieces.strategy import COMMON, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.step import Body, Step
from mflux_teacache.strategies.easycache.policy import DEFAULTS, THRESHOLD, Learned, decide, learn


class _Computed(NamedTuple):
    """A computed step: the latents that entered it, and the body's output."""

    latents: mx.array
    output: mx.array


class EasyCache(Strategy):
    """Skips the transformer's body while the predicted change of its output stays under a threshold.

    The paper's input and output are those of the transformer. Here the input is the latents, which enter it, and the
    output is that of its body, which is only projected afterwards; both count through ratios of their changes
    alone. With guidance one branch decides for all, as in the authors' code: there the prompt's, here the first.
    """

    name = "easycache"
    title = "EasyCache"
    about = replace(
        COMMON,
        description="Learns during the run how strongly the output follows the input, and skips while it follows "
        "little.",
        threshold="thresh",
        default_threshold=THRESHOLD,
        grid={"thresh": (0.02, 0.05, 0.1, 0.2), "forecast": (0, 1)},
        budgets=BUDGETS,
    )
    defaults = DEFAULTS
    skips_while = "the predicted change of the output adds up to less than this"
    least_first = 2  # its rate comes from two computed steps

    _learned: Learned
    _latents: mx.array | None = None
    _computed: _Computed | None = None
    _shown: tuple[mx.array, ...] = ()

    def judge(self, step: Step) -> Verdict:
        latents, before = step.latents, self._latents
        self._latents = latents
        change = None
        # What the last computed step has shown is read here and not when it was computed: in one wait with the change.
        if before is not None:
            change, *shown = _numbers(mean_change(latents, before), *self._shown)
            self._learned = learn(self._learned, *shown)
        verdict = decide(self._learned, change)
        if verdict.drop_cache:
            self._learned = Learned()  # it comes from the same numbers
        return verdict

    def observe(self, step: Step, body: Body) -> None:
        if not body.branches[0].reused:
            # Reference images hardly change from step to step: they would hide the change of the image being made.
            # Among the latents they do no harm: they make every change smaller by the same factor.
            new = _Computed(step.latents, step.target_part(body.branches[0].output))
            self._shown = _measure(new, self._computed)
            self._computed = new

    def forget(self) -> None:
        self._latents = self._computed = None
        self._shown, self._learned = (), Learned()


def _numbers(*arrays: mx.array) -> list[float]:
    """Wait for the device, once."""
    mx.eval(*arrays)
    return [array.item() for array in arrays]  # type: ignore[misc]


def _measure(new: _Computed, old: _Computed | None) -> tuple[mx.array, ...]:
    """What ``learn`` takes, not evaluated."""
    size = mx.abs(new.output.astype(mx.float32)).mean()
    if old is None:
        return (size,)
    return size, mean_change(new.output, old.output), mean_change(new.latents, old.latents)
