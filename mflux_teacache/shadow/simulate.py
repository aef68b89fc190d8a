"""One strategy, driven along a run that computes every step, as if it had skipped."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx

from mflux_teacache.errors import HookFailed, PluginError, PluginWarning, Refused
from mflux_teacache.options import from_keywords
from mflux_teacache.pieces.distance import relative_l1
from mflux_teacache.plugins import DECIDES, Loaded, PluginSet
from mflux_teacache.records import Generation, Target
from mflux_teacache.runtime import ask, tell
from mflux_teacache.shadow.report import Row
from mflux_teacache.spelling import brief
from mflux_teacache.step import Body, BodyBranch, Decision, Step

# Block 0's output is all that a step knows between the body's input and its output.
MOST_BLOCKS = 1


class ComputedStep:
    """What the body did in a step of the full run, as strategies see it that run some first blocks in every step."""

    def __init__(self, step: Step, body: Body) -> None:
        self.step = step
        self._bodies = {0: body}

    def after(self, blocks: int) -> Body:
        """With residuals that are taken after this many blocks, 0 or 1.

        After block 0 there is the first branch alone: of the others, no step knows block 0's output.
        """
        if blocks not in self._bodies:
            branch = self._bodies[0].branches[0]
            base = branch.input + self.step.first_block_residual
            residual = branch.output - base
            self._bodies[blocks] = Body((BodyBranch(base, branch.output, residual, reused=False, index=branch.index),))
        return self._bodies[blocks]

    @property
    def made(self) -> list[mx.array]:
        """Residuals that were made here: to be evaluated with the step, or they would keep its activations."""
        return [branch.residual for blocks, body in self._bodies.items() if blocks for branch in body.branches]


class Simulation:
    """A private instance of a strategy, with options of its own.

    It gets the very steps of the full run, and bodies as they would have been: computed where it computes, and
    ``base + its residual``, or its output of the transformer, where it reuses. The base is the full run's, and so are
    ``generation.records``.

    Args:
        plugin: a plugin that decides.
        keywords: its options, as for ``attach``.

    Raises:
        PluginError: it cannot be made, or an option is missing or not allowed.
    """

    fault: str | None = None
    _decision: Decision | None
    _errors: list[float | None]
    _partial: dict[int, float]
    _threshold: float | None

    def __init__(self, plugin: Loaded, keywords: Mapping[str, Any]) -> None:
        self.name = plugin.name
        self.options = from_keywords(plugin, keywords)
        self._plugins = PluginSet([plugin])

    @property
    def given_threshold(self) -> float | None:
        """What its option for a threshold says; ``None`` where it has none, or leaves it to the strategy."""
        option = self._plugins.about.threshold
        return None if option is None else getattr(self.options, option, None)

    @property
    def threshold(self) -> float | None:
        """The threshold that it takes, if it has an option for one: also what ``mflux_attach`` took of itself."""
        given, taken = self.given_threshold, self._plugins.threshold
        if given is None and self._plugins.about.threshold is not None and isinstance(taken, int | float):
            return float(taken)
        return given

    @property
    def title(self) -> str:
        given = self.given_threshold
        return self.name if given is None else f"{self.name} at {given:g}"

    def check(self, target: Target) -> None:
        """Raises ``PluginError`` where the strategy refuses. What it warns of is for runs that it decides: dropped."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PluginWarning)
            self._check(target)

    def attach(self, target: Target, model: Any) -> None:
        """Raises ``PluginError`` where the strategy refuses, or reuses at a place that a full run does not show."""
        # As a real run does, so that what is refused there is left out here.
        self._check(target)
        self._plugins.check(self.name, "mflux_attach", options=self.options, target=target, model=model)
        if self._plugins.residual_after > MOST_BLOCKS:
            raise Refused(
                f"its residual_after is {self._plugins.residual_after}, and a shadow run knows the body's stream "
                f"after 0 and 1 blocks."
            )

    def _check(self, target: Target) -> None:
        self._plugins.check(self.name, "mflux_check", options=self.options, target=target)

    def start(self, generation: Generation, target: Target) -> None:
        """A new image; where the strategy refuses or fails, ``fault`` says why, and it takes no part in the image."""
        self._decision, self._errors, self._partial, self._threshold, self.fault = None, [], {}, None, None
        try:
            self.check(target)
        except PluginError as refusal:
            self.fault = str(refusal)
        self._call(tell, "mflux_generation_start", generation=generation)

    def decide(self, step: Step) -> None:
        """Before the body: let it look, and ask it."""
        self._call(tell, "mflux_step_start", step=step)
        decision = self._call(ask, DECIDES, step=step)
        if decision is not None and not isinstance(decision, Decision):
            what = f"an {type(decision).__name__}" if hasattr(decision, "shape") else brief(decision)
            self.fault = f"it returned {what} in {DECIDES} where a Decision or None is expected"
            decision = None
        self._decision = decision
        if decision is not None and decision.threshold is not None:
            self._threshold = decision.threshold

    def follow(self, computed: ComputedStep) -> mx.array | None:
        """After the body: tell it what it would have got.

        Returns the relative L1 error of the first branch that reuses, a scalar in float32 that is not evaluated: that
        of what it reuses, the body's output or the transformer's; ``None`` where all compute.
        """
        if self.fault:
            return None
        # Shared between the strategies, so that each residual is made and kept once.
        full = computed.after(0 if self._plugins.reuses == "output" else self._plugins.residual_after)
        body = _as_reused(full, self._decision)
        self._call(tell, "mflux_post_transformer", step=computed.step, body=body)
        reused = [(branch, real) for branch, real in zip(body.branches, full.branches, strict=True) if branch.reused]
        if not reused:
            return None
        if len(reused) < len(body.branches):
            self._partial[computed.step.index] = 1 - len(reused) / len(body.branches)
        first, real = reused[0]
        if first.at_output:
            assert first.model_output is not None
            assert real.model_output is not None
            return relative_l1(first.model_output, real.model_output)
        part = computed.step.target_part
        return relative_l1(part(first.output), part(real.output))

    def note(self, error: float | None) -> None:
        """The number that ``follow``'s array holds."""
        self._errors.append(error)

    def end(self, generation: Generation) -> Row | None:
        """The image is over; ``None`` where the strategy dropped out."""
        self._decision = None  # with what it would have reused
        self._call(tell, "mflux_generation_end", generation=generation)
        if self.fault:
            return None
        return Row(self.name, self._threshold, tuple(self._errors), self._partial)

    def _call(self, way: Callable[..., Any], hook: str, **arguments: Any) -> Any:
        """Tell or ask the strategy, as long as it takes part."""
        if self.fault is not None:
            return None
        try:
            return way(self._plugins, hook, **arguments)
        except HookFailed as failure:
            self.fault = f"it failed in {hook}: {type(failure.__cause__).__name__}: {failure.__cause__}"
            return None


def _as_reused(full: Body, decision: Decision | None) -> Body:
    """The body as it would have been: a branch without anything that fits computes, as in a real run."""
    if decision is None:
        return full
    residuals, outputs = dict(enumerate(decision.residuals or ())), dict(enumerate(decision.outputs or ()))
    return Body(tuple(_reused(each, residuals.get(each.index), outputs.get(each.index)) for each in full.branches))


def _reused(branch: BodyBranch, residual: mx.array | None, output: mx.array | None) -> BodyBranch:
    if output is not None and branch.model_output is not None and output.shape == branch.model_output.shape:
        return BodyBranch.without_body(output, branch.index)
    if residual is not None and residual.shape == branch.input.shape:
        return BodyBranch(branch.input, branch.input + residual, residual, reused=True, index=branch.index)
    return branch
