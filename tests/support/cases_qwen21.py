"""One case per way to run Qwen-Image 2.1 from text, and what its edit and ControlNet have in common with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import stub_prompts
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.qwen21.model.qwen21_transformer.qwen21_transformer import Qwen21Transformer
from mflux.models.qwen21.variants.txt2img.qwen_image_21 import QwenImage21
from tiny_models import Case

_TEXT_WIDTH = 12
SIZES = {
    "in_channels": 64,
    "out_channels": 64,
    "num_layers": 4,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "context_in_dim": _TEXT_WIDTH,
    "mlp_ratio": 2,
    "axes_dims_rope": (4, 6, 6),
}
_RGB = slice(0, 3)


class _VAE:
    """Sixteen by sixteen pixels of four channels to one latent of 64, and back to three, by averaging and repeating."""

    def encode(self, image: mx.array) -> mx.array:
        batch, channels, height, width = image.shape
        blocks = image.reshape(batch, channels, height // 16, 16, width // 16, 16).mean(axis=(3, 5))
        return mx.concatenate([blocks] * 22, axis=1)[:, :64, None]

    def decode(self, latents: mx.array) -> mx.array:
        latents = latents[:, _RGB, 0] if latents.ndim == 5 else latents[:, _RGB]
        return mx.tanh(mx.repeat(mx.repeat(latents, 16, axis=2), 16, axis=3))


def qwen21(config: ModelConfig) -> Any:
    """A text-to-image pipeline, 32 wide with 4 blocks."""
    model = pipeline(QwenImage21, config)
    model.tokenizers, model.text_encoder = {"qwen21": None}, None
    model.prompt_cache = _Prompts(embedding)
    model.transformer = tiny_models.randomised(Qwen21Transformer(**SIZES), seed=13, scale=0.1)
    return model


def pipeline(cls: type, config: ModelConfig) -> Any:
    model = tiny_models._pipeline(cls, config)
    tiny_models.default_precision(model)
    model.processor = SimpleNamespace(
        image_processor=SimpleNamespace(size={"shortest_edge": 16, "longest_edge": 1024 * 1024})
    )
    model.vae = _VAE()
    return model


class _Prompts(dict[str, Any]):
    """A prompt cache that knows every prompt: the text encoder never runs."""

    def __init__(self, embed: Callable[[str], tuple[mx.array, mx.array]]) -> None:
        super().__init__()
        self._embed = embed

    def __contains__(self, prompt: object) -> bool:
        return True

    def __missing__(self, prompt: str) -> tuple[mx.array, mx.array]:
        return self._embed(prompt)


def embedding(prompt: str) -> tuple[mx.array, mx.array]:
    """The longer the prompt, the longer the text."""
    length = 3 + len(prompt) % 5
    return stub_prompts.embedded(prompt, 1, length, _TEXT_WIDTH), mx.ones((1, length), dtype=mx.int32)


def _padded(prompt: str) -> tuple[mx.array, mx.array]:
    """With two tokens of padding, which keep the text from being cached."""
    embedded, mask = embedding(prompt)
    return embedded, mx.where(mx.arange(mask.shape[1])[None] < mask.shape[1] - 2, mask, 0)


def case(cls: type, make: Callable[[], Any], arguments: Callable[[Path], dict[str, Any]], **more: Any) -> Case:
    return Case(cls, lambda photo: (make(), {"prompt": "a red apple", **arguments(photo), **more}), smaller=(64, 32))


def _txt2img(arguments: Callable[[Path], dict[str, Any]] = lambda photo: {}, **more: Any) -> Case:
    return case(QwenImage21, lambda: qwen21(ModelConfig.qwen_image_21()), arguments, **more)


def _qwen21_padded() -> Any:
    model = qwen21(ModelConfig.qwen_image_21())
    model.prompt_cache = _Prompts(_padded)
    return model


GUIDANCE = {"guidance": 4.0, "negative_prompt": "blurry, grey"}

CASES = {
    "qwen21": _txt2img(),
    "qwen21-guidance": _txt2img(**GUIDANCE),
    "qwen21-img2img": _txt2img(lambda photo: {"image_path": photo, "image_strength": 0.4}, **GUIDANCE),
    "qwen21-padded": case(QwenImage21, _qwen21_padded, lambda photo: {}, **GUIDANCE),
}
if hasattr(ModelConfig, "qwen_image_21_turbo"):  # younger than the pipeline
    CASES["qwen21-turbo"] = case(QwenImage21, lambda: qwen21(ModelConfig.qwen_image_21_turbo()), lambda photo: {})
