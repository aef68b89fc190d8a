"""The plugin ``easycache``: EasyCache's rule on the hooks. Needs no calibration."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.pieces import forecast, limits
from mflux_teacache.pieces.option_types import threshold
from mflux_teacache.pieces.policy_run import PolicyRun
from mflux_teacache.records import Body, Decision, Step, Target
from mflux_teacache.strategies.easycache.policy import DEFAULTS, THRESHOLD, Config, State, decide, learn

PLUGIN = "easycache"


class _Computed(NamedTuple):
    """A computed step: the latents that entered it, and the body's output."""

    latents: mx.array
    output: mx.array


class EasyCache:
    """Skips the transformer's body while the predicted change of its output stays under a threshold.

    The paper's input and output are those of the transformer. Here the input is the latents, which enter it, and the
    output is that of its body, which is only projected afterwards; both count through ratios of their changes
    alone. With guidance one branch decides for all, as in the authors' code: there the prompt's, here the first.
    """

    calibration_free = True
    _config: Config
    _run: PolicyRun[State]
    _latents: mx.array | None = None
    _computed: _Computed | None = None
    _shown: tuple[mx.array, ...] = ()

    @staticmethod
    @hookimpl
    def mflux_add_options(group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--easycache-thresh",
            type=threshold,
            default=THRESHOLD,
            metavar="FLOAT",
            help="skip while the predicted change of the output adds up to less than this; higher = faster, further "
            "from the full run; 0 never skips (default: %(default)s)",
        )
        limits.add_options(group, PLUGIN, DEFAULTS)
        forecast.add_options(group, PLUGIN)

    @hookimpl
    def mflux_check(self, options: argparse.Namespace, target: Target) -> None:
        # Its rate comes from two computed steps.
        windows = limits.from_options(options)
        limits.refuse_short_run("EasyCache", PLUGIN, windows, target.active_steps, least_first=2)

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace) -> None:
        self._config = Config(threshold=options.thresh, limits=limits.from_options(options))
        self._run = PolicyRun(State(), forecast.from_options(options), options.thresh)

    @hookimpl
    def mflux_generation_start(self) -> None:
        self._forget()

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        latents, before = step.latents, self._latents
        self._latents = latents
        change, state = None, self._run.state
        if before is not None:
            change, *shown = _numbers(_change(latents, before), *self._shown)
            state = learn(state, *shown)
        return self._run.follow(decide(state, change, step.index, step.active_steps, self._config), step)

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        self._run.keep(step, body)
        if not body.branches[0].reused:
            # Reference images hardly change from step to step: they would hide the change of the image being made.
            # Among the latents they do no harm: they make every change smaller by the same factor.
            new = _Computed(step.latents, step.target_part(body.branches[0].output))
            self._shown = _measure(new, self._computed)
            self._computed = new

    @hookimpl
    def mflux_generation_end(self) -> None:
        self._forget()

    @hookimpl
    def mflux_image_metadata(self) -> Mapping[str, Any]:
        return self._run.cache.values

    def _forget(self) -> None:
        self._run.reset()
        self._latents = self._computed = None
        self._shown = ()


def _numbers(*arrays: mx.array) -> list[float]:
    """Wait for the device, once."""
    mx.eval(*arrays)
    return [array.item() for array in arrays]  # type: ignore[misc]


def _measure(new: _Computed, old: _Computed | None) -> tuple[mx.array, ...]:
    """What ``learn`` takes, not evaluated."""
    size = mx.abs(new.output.astype(mx.float32)).mean()
    if old is None:
        return (size,)
    return size, _change(new.output, old.output), _change(new.latents, old.latents)


def _change(now: mx.array, earlier: mx.array) -> mx.array:
    """Mean absolute change in float32; NaN where the shapes differ."""
    if now.shape != earlier.shape:
        return mx.array(float("nan"))
    return mx.abs(now.astype(mx.float32) - earlier.astype(mx.float32)).mean()
