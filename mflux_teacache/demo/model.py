"""The demo's model: mflux's FLUX.2 pipeline around a 9.9 M parameter transformer trained on scenes of emoji.

mflux's own ``generate_image`` runs, with its loop, scheduler, guidance and callbacks. Ours are the prompt
encoder (an embedding of 90 words) and the codec (a small convolutional autoencoder in the place of FLUX.2's).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import PIL.Image
from mflux.callbacks.callback_registry import CallbackRegistry
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.flux2.model.flux2_transformer.transformer import Flux2Transformer
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein
from mlx import nn

from mflux_teacache.demo.clock import LoopClock, listening
from mflux_teacache.demo.codec import Codec
from mflux_teacache.demo.sizes import (
    DOUBLE_BLOCKS,
    HEAD_WIDTH,
    HEADS,
    ROPE_AXES,
    ROPE_BASE,
    SIDE,
    SINGLE_BLOCKS,
    TOKEN_CHANNELS,
    WORD_WIDTH,
)
from mflux_teacache.demo.vocabulary import EMPTY_PROMPT, LENGTH, WORDS, parse

MODEL = "mflux-teacache/demo-emoji"
GUIDANCE = 2.5

_WEIGHTS = Path(__file__).with_name("emoji.safetensors")


@contextlib.contextmanager
def tiny_klein() -> Iterator[DemoKlein]:
    """The loaded model, and mflux in float32 for as long as the context lasts.

    mflux keeps its precision in one class attribute, bfloat16, which the CPU has to emulate. It is read while
    an image is being made, so generate inside the context; no other model should run in it.
    """
    before = ModelConfig.precision
    ModelConfig.precision = mx.float32
    try:
        yield DemoKlein()
    finally:
        ModelConfig.precision = before


class DemoKlein(Flux2Klein):
    """mflux's FLUX.2 Klein pipeline with weights that ship in this package; make one with ``tiny_klein``."""

    def __init__(self) -> None:
        nn.Module.__init__(self)  # Flux2Klein's own would download its weights
        self.model_config = model_config()
        self.callbacks = CallbackRegistry()
        if find_spec("mflux.models.common.compute_precision"):  # from mflux 0.22 on
            from mflux.models.common.compute_precision import ComputePrecision

            self.compute_precision = ComputePrecision()
        self.tiling_config = self.bits = self.lora_paths = self.lora_scales = None
        self.words = nn.Embedding(len(WORDS), WORD_WIDTH)
        self.transformer = Flux2Transformer(
            in_channels=TOKEN_CHANNELS,
            num_layers=DOUBLE_BLOCKS,
            num_single_layers=SINGLE_BLOCKS,
            attention_head_dim=HEAD_WIDTH,
            num_attention_heads=HEADS,
            joint_attention_dim=WORD_WIDTH,
            axes_dims_rope=ROPE_AXES,
            rope_theta=ROPE_BASE,
        )
        self.vae = Codec()
        self.load_weights(_stored_weights())
        mx.eval(self.parameters())

    def _encode_prompt_pair(
        self, *, prompt: str, negative_prompt: str | None, guidance: float
    ) -> tuple[mx.array, mx.array, mx.array | None, mx.array | None]:
        positive, negative = self._embed(parse(prompt).tokens), self._embed(EMPTY_PROMPT)
        places = mx.arange(LENGTH)[:, None] * mx.array([0, 0, 0, 1])
        # FLUX.2 encodes lazily, inside the first step: here it must not count as denoising.
        mx.eval(positive, negative, places)
        return (positive, places, negative, places) if guidance > 1 else (positive, places, None, None)

    def _embed(self, tokens: list[list[int]]) -> mx.array:
        embedded: mx.array = self.words(mx.array([tokens])).sum(axis=2)
        return embedded


class Drawn(NamedTuple):
    """An image, and the seconds that its denoising loop took."""

    image: PIL.Image.Image
    seconds: float


def draw(model: DemoKlein, label: str, *, prompt: str, steps: int, seed: int, keep_bar: bool = True) -> Drawn:
    """One image by mflux's ``generate_image``, whose progress bar gets a label.

    Args:
        keep_bar: leave the bar on the screen when it is full.
    """
    clock = LoopClock(label, keep_bar=keep_bar)
    with listening(model, clock):
        result = model.generate_image(**image_arguments(prompt=prompt, steps=steps, seed=seed))
    return Drawn(result.image, clock.seconds)


def image_arguments(*, prompt: str, steps: int, seed: int) -> dict[str, Any]:
    """Of ``generate_image``."""
    return {
        "seed": seed,
        "prompt": prompt,
        "num_inference_steps": steps,
        "height": SIDE,
        "width": SIDE,
        "guidance": GUIDANCE,
    }


def model_config() -> ModelConfig:
    """FLUX.2 Klein base's, under another name: the schedule stays, and calibrations are found by name."""
    config = copy.copy(ModelConfig.flux2_klein_base_4b())
    config.model_name = MODEL
    return config


def _stored_weights() -> list[tuple[str, mx.array]]:
    stored: dict[str, mx.array] = mx.load(str(_WEIGHTS))  # type: ignore[assignment]
    return [(name, array.astype(mx.float32)) for name, array in stored.items()]
