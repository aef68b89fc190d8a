"""Plugins for tests: each does one thing."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mflux_teacache import About, Body, Decision, Step, hookimpl


class Observer:
    """Attached, and does nothing."""


class ReadsEverything:
    """Reads every signal in every step, so that each forward is probed and carried."""

    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        mx.eval(step.modulated_input, step.first_block_residual, step.latents)


class ReadsEverythingAfterwards:
    """Reads every signal for the first time when the body has run."""

    @hookimpl
    def mflux_post_transformer(self, step: Step) -> None:
        mx.eval(step.modulated_input, step.first_block_residual, step.latents)


class Pattern:
    """Follows a pattern of C and S, and keeps what it saw."""

    pattern = "CSCSCSCSCSCS"

    def __init__(self) -> None:
        self.residuals: tuple[Any, ...] = ()
        self.bodies: list[Body] = []
        self.steps: list[Step] = []

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        self.steps.append(step)
        if self.pattern[step.index] == "S":
            return Decision.reuse(self.residuals)
        return Decision.compute()

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        self.bodies.append(body)
        if body.computed:
            self.residuals = body.residuals


class ProbedPattern(Pattern):
    """The same after reading the signal, so that the probe's arrays are carried."""

    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        mx.eval(step.modulated_input)


class PatternAfterFirstBlock(Pattern):
    residual_after = 1


class ProbedPatternAfterFirstBlock(ProbedPattern):
    residual_after = 1


class OutputPattern(Pattern):
    """The same, with the transformer's outputs."""

    about = About(reuses="output")

    def __init__(self) -> None:
        super().__init__()
        self.outputs: tuple[Any, ...] = ()

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        if self.pattern[step.index] == "S":
            return Decision.reuse_outputs(self.outputs)
        return Decision.compute()

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        self.bodies.append(body)
        if body.computed:
            self.outputs = body.model_outputs


class ProbedOutputPattern(OutputPattern):
    """The same after reading the signal, so that the probe's arrays are carried."""

    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        mx.eval(step.modulated_input)


def kept(cls: type) -> tuple[type, list[Any]]:
    """A subclass that lists its instances: attach makes them where a test cannot see them."""
    made: list[Any] = []

    class Kept(cls):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    return Kept, made
