"""Iris: no VAE; the base model guides with a batch of two, the turbo model always takes four steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.iris.model.iris_transformer.iris_transformer import IrisTransformer
from mflux.models.iris.variants.txt2img.iris import Iris
from stub_prompts import Prompts, embedded
from tiny_models import Case


def _prompt(prompt: str) -> tuple[mx.array, mx.array]:
    """Padded to one length; the empty prompt has fewer words."""
    return embedded(prompt, 1, 6, 2, 16), mx.array([[1, 1, 1, 1, 0, 0] if prompt else [1, 0, 0, 0, 0, 0]])


def _case(config: Callable[[], ModelConfig], **arguments: Any) -> Case:
    def make(photo: Path) -> tuple[Any, dict[str, Any]]:
        model = tiny_models._pipeline(Iris, config())
        model.prompt_cache = Prompts(_prompt)
        model.transformer = tiny_models.randomised(
            IrisTransformer(
                hidden_size=32,
                depth=4,
                dual_depth=2,
                num_heads=2,
                num_kv_heads=1,
                text_len=6,
                text_dim=16,
                text_num_layers=2,
                text_layer_num_heads=2,
                pixel_depth=2,
                pixel_hidden_size=8,
                pixel_attn_hidden_size=16,
                pixel_num_heads=2,
            ),
            seed=9,
            scale=0.1,
        )
        return model, dict(arguments)

    return Case(Iris, make)


CASES = {
    "iris-turbo": _case(ModelConfig.iris_3b),
    "iris-base": _case(ModelConfig.iris_3b_base, guidance=3.0),
    "iris-base-without-guidance": _case(ModelConfig.iris_3b_base, guidance=1.0),
}
