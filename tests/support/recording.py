"""What a test needs to see of a running model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from tiny_models import generate

from mflux_teacache import Body, Step, Target, hookimpl
from mflux_teacache.adapters.seam.compiled import probe
from mflux_teacache.adapters.seam.image import Body as Seam
from mflux_teacache.adapters.seam.values import Carry, Made
from mflux_teacache.forward import Ran, Reuse


def seen_by(module: Any, method: str = "__call__") -> list[dict[str, Any]]:
    """The arguments of every later call of a module, by name."""
    seen: list[dict[str, Any]] = []
    cls = type(module)
    forward = getattr(cls, method)
    signature = inspect.signature(forward)

    @functools.wraps(forward)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        seen.append({name: value for name, value in bound.arguments.items() if name != "self"})
        return forward(self, *args, **kwargs)

    module.__class__ = type(cls.__name__, (cls,), {method: call})
    return seen


def second_call(model: Any, transformer: Any, arguments: dict[str, Any]) -> Callable[[], Any]:
    """The call that mflux makes of a transformer for its second prediction of an image."""
    calls = seen_by(transformer)
    generate(model, **arguments)
    return functools.partial(transformer, **calls[1])


def run(
    body: Seam,
    forward: Callable[[], Any],
    residuals: Sequence[mx.array | None],
    carry: Carry | None,
    made: Made | None = None,
) -> tuple[Any, list[Ran]]:
    """Run a forward of which it is decided already what its branches reuse."""
    return body.run(forward, lambda _: Reuse(residuals), carry, made)


def carries(body: Seam, forward: Callable[[], Any]) -> tuple[Carry | None, ...]:
    """What a run can take over: nothing, or what a probe found before or after block 0."""
    before = probe(body, forward).carry
    after = probe(body, forward, first_block=True).carry
    return None, before, after, probe(body, forward, first_block=True, carry=before).carry


class Watch:
    """Keeps what a plugin gets to see of each step."""

    def __init__(self) -> None:
        self.targets: list[Target] = []
        self.steps: list[Step] = []
        self.branches: list[int | None] = []
        self.latents: list[mx.array] = []
        self.bodies: list[Body] = []

    @hookimpl
    def mflux_check(self, options: Any, target: Target) -> None:
        self.targets.append(target)

    @hookimpl
    def mflux_step_start(self, step: Step) -> None:
        self.steps.append(step)
        self.branches.append(step.branches)
        self.latents.append(step.target_part(step.latents) if step.generation.target_rows else step.latents)

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        self.bodies.append(body)


class Loop:
    """mflux's callbacks: its configuration, and the latents before the first and after each step."""

    def __init__(self) -> None:
        self.latents: list[mx.array] = []
        self.config: Any = None

    def call_before_loop(self, *, latents: mx.array, config: Any, **_: Any) -> None:
        self.config = config
        self.latents.append(latents)

    def call_in_loop(self, *, latents: mx.array, **_: Any) -> None:
        self.latents.append(latents)

    @property
    def sigmas(self) -> list[float]:
        """Of the steps that call the transformer."""
        if self.config.model_config.model_name.startswith("inclusionAI/Ming"):
            from mflux.models.ming_image.variants.ming_image import MingImage

            return MingImage.sigmas(self.config.num_inference_steps).tolist()[:-2]
        return self.config.scheduler.sigmas.tolist()[self.config.init_time_step : -1]
