"""Krea 2: its predict functions capture the prompt, and with guidance call the transformer twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.krea2.model.krea2_transformer.transformer import Krea2Transformer
from mflux.models.krea2.variants.txt2img.krea2 import Krea2
from mlx import nn
from stub_prompts import Prompts, embedded
from tiny_models import Case


def _prompts(key: tuple[str, str | None, float]) -> tuple[mx.array, mx.array | None]:
    """The negative prompt is shorter: its branch has another text length."""
    prompt, negative, guidance = key
    return embedded(prompt, 1, 5, 32), None if guidance == 1.0 else embedded(negative, 1, 3, 32)


def _transformer(control: bool) -> nn.Module:
    transformer = Krea2Transformer(
        features=64,
        tdim=32,
        txtdim=16,
        heads=2,
        kvheads=1,
        multiplier=2,
        layers=3,
        txtlayers=2,
        txtheads=2,
        txtkvheads=2,
    )
    if control:
        transformer.control_first = nn.Linear(64, 64, bias=False)
    return tiny_models.randomised(transformer, seed=5, scale=0.1)


def krea2(cls: type, config: ModelConfig, control: bool = False) -> Any:
    """A Krea 2 pipeline, 64 wide."""
    model = tiny_models._pipeline(cls, config)
    model.prompt_cache = Prompts(_prompts)
    model.tokenizers = {"qwen3vl": None}
    model.text_encoder = None
    model.transformer = _transformer(control)
    model.vae = tiny_models.Flux1VAE()
    return model


def _case(config: Callable[[], ModelConfig], arguments: Callable[[Path], dict[str, Any]]) -> Case:
    return Case(Krea2, lambda photo: (krea2(Krea2, config()), arguments(photo)), compiled=True)


CASES = {
    "krea2-turbo": _case(ModelConfig.krea2, lambda photo: {}),
    "krea2-euler": _case(ModelConfig.krea2, lambda photo: {"scheduler": "euler"}),
    "krea2-img2img": _case(ModelConfig.krea2, lambda photo: {"image_path": photo, "image_strength": 0.4}),
}
if hasattr(ModelConfig, "krea2_raw"):  # younger than the pipeline
    CASES["krea2-guidance"] = _case(ModelConfig.krea2_raw, lambda photo: {"guidance": 4.0})
