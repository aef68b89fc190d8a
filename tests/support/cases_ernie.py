"""ERNIE-Image: one call per step, with a batch of two for guidance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.ernie_image.model.ernie_transformer.transformer import ErnieTransformer
from mflux.models.ernie_image.variants.txt2img.ernie_image import ErnieImage
from stub_prompts import Prompts, embedded
from tiny_models import Case


def _prompts(key: tuple[str, str | None, float]) -> tuple[mx.array, mx.array]:
    """With guidance the negative prompt comes first; it is shorter, and padded."""
    prompt, negative, guidance = key
    if guidance <= 1.0:
        return embedded(prompt, 1, 5, 12), mx.array([5])
    padded = mx.pad(embedded(negative, 1, 3, 12), [(0, 0), (0, 2), (0, 0)])
    return mx.concatenate([padded, embedded(prompt, 1, 5, 12)]), mx.array([3, 5])


def _case(config: Callable[[], ModelConfig], arguments: Callable[[Path], dict[str, Any]]) -> Case:
    def make(photo: Path) -> tuple[Any, dict[str, Any]]:
        model = tiny_models._pipeline(ErnieImage, config())
        model.prompt_cache = Prompts(_prompts)
        model.transformer = tiny_models.randomised(
            ErnieTransformer(
                hidden_size=32,
                num_attention_heads=2,
                num_layers=3,
                ffn_hidden_size=48,
                text_in_dim=12,
                rope_axes_dim=[4, 6, 6],
            ),
            seed=4,
            scale=0.1,
        )
        model.vae = tiny_models.Flux2VAE()
        return model, arguments(photo)

    return Case(ErnieImage, make, compiled=True)


CASES = {
    "ernie-turbo": _case(ModelConfig.ernie_image_turbo, lambda photo: {}),
    "ernie-guidance": _case(ModelConfig.ernie_image, lambda photo: {"guidance": 4.0}),
    "ernie-img2img": _case(ModelConfig.ernie_image_turbo, lambda photo: {"image_path": photo, "image_strength": 0.4}),
}
