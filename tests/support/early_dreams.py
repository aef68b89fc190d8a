"""A made-up family of which only the first third of the steps matters, in a pipeline that mflux does not have."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import dreams
import mlx.core as mx
import numpy as np
import PIL.Image
from dreams import Layer
from mflux.callbacks.callback_registry import CallbackRegistry
from mlx import nn
from tiny_models import randomised
from tqdm import tqdm

from mflux_teacache.bench.subjects import Subject
from mflux_teacache.demo import model as demo

STEPS, SIDE, WIDTH = 18, 32, 3
EARLY = STEPS // 3


class EarlyDreamer(nn.Module):
    """Its output jumps from step to step, each time elsewhere, and stays the same from the first third on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [Layer(WIDTH) for _ in range(2)]
        self.jumps = mx.zeros((EARLY, SIDE * SIDE, WIDTH))

    def __call__(self, noisy: mx.array, noise: mx.array) -> mx.array:
        x = noisy
        for layer in self.layers:
            x = layer(x, 1 + noise)
        step = mx.minimum(mx.round((1 - noise) * STEPS), EARLY - 1).astype(mx.int32)
        return self.jumps[step][None] + 0 * x


class EarlyDreams:
    def __init__(self) -> None:
        self.model_config = demo.model_config()
        self.model_config.model_name = "somebody/early-dreams"
        self.transformer = randomised(EarlyDreamer(), seed=1, scale=2.0)
        self.callbacks = CallbackRegistry()

    def generate_image(
        self, seed: int, prompt: str, num_inference_steps: int, height: int, width: int, guidance: float
    ) -> Any:
        config = SimpleNamespace(
            num_inference_steps=num_inference_steps,
            init_time_step=0,
            time_steps=tqdm(range(num_inference_steps), disable=True),
            height=height,
            width=width,
            guidance=guidance,
        )
        latents = mx.random.normal((1, SIDE * SIDE, WIDTH), key=mx.random.key(seed))
        context = self.callbacks.start(seed=seed, prompt=prompt, config=config)
        context.before_loop(latents)
        for t in range(num_inference_steps):
            noise = mx.array(1 - t / num_inference_steps)
            latents = latents - self.transformer(latents, noise) / num_inference_steps
            context.in_loop(t, latents)
            mx.eval(latents)
        context.after_loop(latents)
        pixels = np.array(127.5 * (1 + mx.tanh(latents))).reshape(SIDE, SIDE, WIDTH)
        return SimpleNamespace(image=PIL.Image.fromarray(pixels.astype(np.uint8)))


FAMILY = replace(dreams.FAMILY, name="early-dreamer", transformer=f"{__name__}:EarlyDreamer")


def subject() -> Subject:
    return Subject(
        name="early dreams",
        pipeline=EarlyDreams,
        config=demo.model_config(),
        load=lambda: nullcontext(EarlyDreams()),
        arguments={"num_inference_steps": STEPS, "height": SIDE, "width": SIDE, "guidance": 1.0},
    )
