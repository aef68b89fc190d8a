"""One case per way to run Ming-Image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.ming_image.model.ming_transformer.ming_transformer import MingTransformer
from mflux.models.ming_image.variants.ming_image import MingImage
from tiny_models import Case


def ming() -> Any:
    """A Ming-Image pipeline, 32 wide."""
    model = tiny_models._pipeline(MingImage, ModelConfig.ming_image_design())
    model.encode_prompt = _encode_prompt
    model.transformer = tiny_models.randomised(
        MingTransformer(
            dim=32,
            n_layers=3,
            n_refiner_layers=1,
            n_heads=2,
            cap_feat_dim=12,
            axes_dims=(4, 6, 6),
            axes_lens=(256, 32, 32),
        ),
        seed=7,
        scale=0.1,
    )
    model.vae = tiny_models.Flux1VAE()
    return model


def _encode_prompt(prompt: str) -> tuple[mx.array, mx.array]:
    key = mx.random.key(sum(map(ord, prompt)))
    return mx.random.normal((7, 12), key=key), mx.random.normal((3, 32), key=key)


def _case(**arguments: Any) -> Case:
    def make(photo: Path) -> tuple[Any, dict[str, Any]]:
        return ming(), arguments

    return Case(MingImage, make)


CASES = {
    "ming": _case(),
    "ming-guidance": _case(guidance=3.0),
}
