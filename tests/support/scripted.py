"""A strategy's hooks, step by step, on signals that a test writes down: no model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from mflux_teacache import Body, Decision, Generation, Step
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import Hooks, Loaded
from mflux_teacache.records import Status, Target
from mflux_teacache.step import BodyBranch

DEV = Target(pipeline="Flux1", model="black-forest-labs/FLUX.1-dev")


@dataclass(eq=False)
class Scripted(Step):
    """A step whose signals are written down: what is read and compared is noted."""

    noise: float | None = None
    signal: mx.array | None = None
    entering: mx.array | None = None
    reads: list[str] = field(default_factory=list)

    @property
    def active_steps(self) -> int:
        return self.generation.active_steps

    @property
    def sigma(self) -> float | None:
        return self.noise

    @property
    def modulated_input(self) -> mx.array:
        return self._noted("modulated_input", self.signal)

    @property
    def first_block_residual(self) -> mx.array:
        return self._noted("first_block_residual", self.signal)

    @property
    def latents(self) -> mx.array:
        return self._noted("latents", self.entering)

    def target_part(self, signal: mx.array) -> mx.array:
        return signal[:, : self.generation.target_rows]

    def on_grid(self, signal: mx.array) -> mx.array | None:
        if self.generation.token_grid is None:
            return None
        height, width = self.generation.token_grid
        return signal[:, : height * width].reshape(-1, height, width, signal.shape[-1])

    def relative_l1(self, now: mx.array, earlier: mx.array) -> float:
        self.reads.append("relative_l1")
        if now.shape != earlier.shape:
            return float("nan")
        return (mx.abs(now - earlier).mean() / mx.abs(earlier).mean()).item()

    def _noted(self, name: str, array: mx.array | None) -> mx.array:
        assert array is not None, f"no {name} was written down"
        self.reads.append(name)
        return array


@dataclass
class Image:
    """What happened: decisions, the value of each step's residuals or outputs, branch by branch, and what was read."""

    generation: Generation
    decisions: list[Decision] = field(default_factory=list)
    residuals: list[list[float]] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)

    @property
    def pattern(self) -> str:
        return "".join("C" if given(decision) is None else "S" for decision in self.decisions)

    @property
    def reasons(self) -> list[str]:
        return [decision.reason for decision in self.decisions]

    @property
    def forced(self) -> str:
        """F for a step that a limit computed, - for any other."""
        return "".join("F" if decision.forced else "-" for decision in self.decisions)


def generation(
    steps: int,
    active: int | None = None,
    target_rows: int | None = None,
    token_grid: tuple[int, int] | None = None,
) -> Generation:
    return Generation(
        number=0,
        seed=1,
        prompt="",
        width=16,
        height=16,
        guidance=4.0,
        num_inference_steps=steps,
        active_steps=active or steps,
        target_rows=target_rows,
        token_grid=token_grid,
    )


class Plugin:
    """An instance that is attached with these keywords, and called by name as the runtime does."""

    def __init__(self, name: str, factory: type, target: Target = DEV, **keywords: Any) -> None:
        self.name = name
        self.loaded = Loaded(name, factory)
        self.options = from_keywords(self.loaded, keywords)
        self.instance = factory()
        self._hooks = Hooks({name: self.instance})
        self.call("mflux_attach", options=self.options, target=target, model=None)

    def call(self, hook: str, **arguments: Any) -> Any:
        return self._hooks.call(self.name, hook, **arguments)

    def run(
        self,
        steps: int,
        *,
        active: int | None = None,
        branches: int = 1,
        refusing: Collection[tuple[int, int]] = (),
        signals: Sequence[mx.array] | None = None,
        latents: Sequence[mx.array] | None = None,
        outputs: Sequence[mx.array] | None = None,
        sigmas: Sequence[float | None] | None = None,
        target_rows: int | None = None,
        token_grid: tuple[int, int] | None = None,
        computes: Callable[[int, int], float] = lambda step, branch: 10.0 * step + branch,
        status: Status = "finished",
    ) -> Image:
        """One image. Step i's branch b computes a residual, and an output, that is ``computes(i, b)`` everywhere.

        ``refusing`` are (step, branch) whose residual or output does not fit, so that the branch computes after all.
        """
        image = Image(generation(steps, active, target_rows, token_grid))
        self.call("mflux_generation_start", generation=image.generation)
        for index in range(image.generation.active_steps):
            signal, latent, output, sigma = (each and each[index] for each in (signals, latents, outputs, sigmas))
            known = branches if index else None
            step = Scripted(index, image.generation, known, sigma, signal, latent, image.reads)
            decision = self.call("mflux_pre_transformer", step=step) or Decision.compute()
            ran, arrays = [], given(decision)
            for place in range(branches):
                held = None if (index, place) in refusing or not arrays else arrays[place]
                new = mx.full((1, 4, 2), computes(index, place))
                ran.append(_branch(place, output, new, held, at_output=decision.outputs is not None))
            self.call("mflux_post_transformer", step=step, body=Body(tuple(ran)))
            image.decisions.append(decision)
            values = [branch.model_output if branch.at_output else branch.residual for branch in ran]
            image.residuals.append([value[0, 0, 0].item() for value in values])
        image.generation.status = status
        self.call("mflux_generation_end", generation=image.generation)
        return image

    def watch(
        self,
        bodies: Sequence[Sequence[BodyBranch]],
        *,
        signals: Sequence[mx.array] | None = None,
        target_rows: int | None = None,
    ) -> None:
        """One finished image of which everything is given: the branches of each step, and its signal."""
        image = generation(len(bodies), target_rows=target_rows)
        self.call("mflux_generation_start", generation=image)
        for index, branches in enumerate(bodies):
            step = Scripted(index, image, len(branches), None, signals and signals[index])
            self.call("mflux_post_transformer", step=step, body=Body(tuple(branches)))
        image.status = "finished"
        self.call("mflux_generation_end", generation=image)


def given(decision: Decision) -> Sequence[mx.array | None] | None:
    """What a step is to reuse, residuals or outputs; ``None`` = it computes."""
    return decision.residuals if decision.outputs is None else decision.outputs


def _branch(place: int, output: Any, new: mx.array, held: mx.array | None, *, at_output: bool) -> BodyBranch:
    if held is not None and at_output:
        return BodyBranch.without_body(held, place)
    return BodyBranch(None, output, new if held is None else held, held is not None, place, model_output=new)


def body_branch(residual: mx.array, *, reused: bool = False) -> BodyBranch:
    """The first branch of a step, which added this residual."""
    return BodyBranch(None, None, residual, reused, 0)


def level(value: float, rows: int = 4) -> mx.array:
    """A signal that is ``value`` everywhere: from 1.0 to 1.25 it changes by 0.25."""
    return mx.full((1, rows, 2), value)
