"""A transformer of a third party, in a pipeline of its own, and the entry that describes it: runs in milliseconds."""

from __future__ import annotations

from types import SimpleNamespace

import mlx.core as mx
from mflux.callbacks.callback_registry import CallbackRegistry
from mlx import nn
from tiny_models import randomised

from mflux_teacache import Family, Joint, hookimpl


class Layer(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width, affine=False), nn.Linear(width, width)

    def __call__(self, x: mx.array, scale: mx.array) -> mx.array:
        return x + self.mix(self.norm(x) * scale)


class Dreamer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.out = [Layer() for _ in range(4)], nn.Linear(8, 8)

    def __call__(self, noisy: mx.array, noise: mx.array) -> mx.array:
        x = noisy
        for layer in self.layers:
            x = layer(x, 1 + noise)
        return self.out(x)


class Dreams:
    """A pipeline that mflux does not have: of mflux it uses the callbacks."""

    def __init__(self) -> None:
        self.transformer = randomised(Dreamer(), seed=1, scale=0.5)
        self.callbacks = CallbackRegistry()
        self.bar = None

    def generate_image(
        self, seed: int, prompt: str, num_inference_steps: int, height: int, width: int, guidance: float = 1.0
    ) -> None:
        steps = range(num_inference_steps)
        config = SimpleNamespace(
            num_inference_steps=num_inference_steps,
            init_time_step=0,
            time_steps=steps,
            height=height,
            width=width,
            guidance=guidance,
        )
        latents = mx.random.normal((1, height * width // 64, 8), key=mx.random.key(seed))
        context = self.callbacks.start(seed=seed, prompt=prompt, config=config)
        context.before_loop(latents)
        for t in steps:
            noise = mx.array(1 - t / num_inference_steps)
            latents = latents - self.transformer(latents, noise) / num_inference_steps
            context.in_loop(t, latents, time_steps=self.bar)
            mx.eval(latents)
        context.after_loop(latents)


FAMILY = Family(
    name="dreamer",
    transformer=f"{__name__}:Dreamer",
    body=(Joint("layers", stream="x"),),
    modulated_input=lambda layer, call: layer.norm(call["x"]) * call["scale"],
    sigma=lambda call: call["noise"],
    latents="noisy",
    packed=True,
)


class Brings:
    @hookimpl
    def mflux_families(self) -> list[Family]:
        return [FAMILY]
