"""A strategy that is driven along a run which computes every step, as if it had skipped some."""

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

# Between the body's input and its output, a step of a full run only shows the output of block 0.
MOST_BLOCKS = 1


class ComputedStep:
    """What the body did in a step of the full run, as seen by strategies that run some first blocks in every step."""

    def __init__(self, step: Step, body: Body) -> None:
        self.step = step
        self._bodies = {0: body}

    def after(self, blocks: int) -> Body:
        """The body with residuals taken after this many blocks, 0 or 1. After 1 it has only the first branch."""
        # A step reads its signals at the first branch, so it does not know block 0's output for the others.
        if blocks not in self._bodies:
            branch = self._bodies[0].branches[0]
            base = branch.input + self.step.first_block_residual
            residual = branch.output - base
            self._bodies[blocks] = Body((BodyBranch(base, branch.output, residual, reused=False, index=branch.index),))
        return self._bodies[blocks]

    @property
    def made(self) -> list[mx.array]:
        """The residuals that were made here."""
        # They must be evaluated with the step, or their graphs would hold its activations.
        return [branch.residual for blocks, body in self._bodies.items() if blocks for branch in body.branches]


class Simulation:
    """A private instance of a strategy, with options of its own.

    It gets the steps of the full run, and bodies as they would have been: the computed one where it computes; where it
    reuses, ``base + its residual``, or the transformer's output that it gave. The base is that of the full run, and so
    are ``generation.records``.

    Args:
        plugin: a plugin that decides.
        keywords: its options, as for ``attach``.

    Raises:
        PluginError: the plugin cannot be made, or an option is missing or not allowed.
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
        """The value of its option for a threshold; ``None`` if it has none, or if it was not given."""
        option = self._plugins.about.threshold
        return None if option is None else getattr(self.options, option, None)

    @property
    def threshold(self) -> float | None:
        """The threshold that it uses, if it has an option for one; ``mflux_attach`` may have chosen it."""
        given, taken = self.given_threshold, self._plugins.threshold
        if given is None and self._plugins.about.threshold is not None and isinstance(taken, int | float):
            return float(taken)
        return given

    @property
    def title(self) -> str:
        given = self.given_threshold
        return self.name if given is None else f"{self.name} at {given:g}"

    def check(self, target: Target) -> None:
        """Let the strategy refuse; raises ``PluginError`` if it does.

        What it warns of is for runs that it decides, and is dropped.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PluginWarning)
            self._check(target)

    def attach(self, target: Target, model: Any) -> None:
        """Attach the strategy; raises ``PluginError`` if it refuses, or reuses where a full run shows nothing."""
        # A real run checks here as well, so whatever it refuses is left out of the shadow run.
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
        """Start a new image. If the strategy refuses or fails, ``fault`` says why, and it takes no part in it."""
        self._decision, self._errors, self._partial, self._threshold, self.fault = None, [], {}, None, None
        try:
            self.check(target)
        except PluginError as refusal:
            self.fault = str(refusal)
        self._call(tell, "mflux_generation_start", generation=generation)

    def decide(self, step: Step) -> None:
        """Show it the step before the body runs, and ask it to decide."""
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
        """Tell it, after the body, what it would have got.

        Returns the relative L1 error of what the first reusing branch reuses, the body's output or the transformer's,
        as a float32 scalar that is not evaluated; ``None`` if all branches compute.
        """
        if self.fault:
            return None
        # The bodies are shared between the strategies, so that each residual is made and kept only once.
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
        """Take note of the number that ``follow``'s array holds."""
        self._errors.append(error)

    def end(self, generation: Generation) -> Row | None:
        """End the image. The result is ``None`` if the strategy dropped out."""
        self._decision = None  # it holds the arrays that would have been reused
        self._call(tell, "mflux_generation_end", generation=generation)
        if self.fault:
            return None
        return Row(self.name, self._threshold, tuple(self._errors), self._partial)

    def _call(self, way: Callable[..., Any], hook: str, **arguments: Any) -> Any:
        """Tell or ask the strategy something, as long as it takes part."""
        if self.fault is not None:
            return None
        try:
            return way(self._plugins, hook, **arguments)
        except HookFailed as failure:
            self.fault = f"it failed in {hook}: {type(failure.__cause__).__name__}: {failure.__cause__}"
            return None


def _as_reused(full: Body, decision: Decision | None) -> Body:
    """The body as it would have been."""
    # As in a real run, a branch for which nothing fits is computed.
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
