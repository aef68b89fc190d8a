"""FLUX.3 Klein: distilled to a flow map, or base with guidance; with and without reference images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import tiny_models
from mflux.models.common.compute_precision import ComputePrecision
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.flux3.model.flux3_transformer.flux3_transformer import Flux3Transformer
from mflux.models.flux3.variants.edit.flux3_klein_edit import Flux3KleinEdit
from mflux.models.flux3.variants.txt2img.flux3_klein import Flux3Klein
from stub_prompts import Prompts, embedded
from tiny_models import Case


def _prompt(prompt: str) -> tuple[mx.array, mx.array]:
    """The empty prompt, which is guidance's second branch, is shorter."""
    rows = 5 if prompt else 3
    return embedded(prompt, 1, rows, 24), mx.zeros((rows, 4))


def _transformer(config: ModelConfig) -> Flux3Transformer:
    transformer = Flux3Transformer(
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        **config.transformer_overrides,
    )
    return tiny_models.randomised(transformer, seed=5, scale=0.1)  # type: ignore[return-value]


def _case(pipeline: type, config: Callable[[], ModelConfig], arguments: Callable[[Path], dict[str, Any]]) -> Case:
    def make(photo: Path) -> tuple[Any, dict[str, Any]]:
        model = tiny_models._pipeline(pipeline, config())
        model._noise_override = None
        model.compute_precision = ComputePrecision(None)
        model.prompt_cache = Prompts(_prompt)
        model.transformer = _transformer(model.model_config)
        model.vae = tiny_models.Flux2VAE()
        return model, arguments(photo)

    return Case(pipeline, make)


CASES = {
    "flux3": _case(Flux3Klein, ModelConfig.flux3_image_klein, lambda photo: {}),
    "flux3-base": _case(Flux3Klein, ModelConfig.flux3_image_klein_base, lambda photo: {"guidance": 3.5}),
    "flux3-edit": _case(Flux3KleinEdit, ModelConfig.flux3_image_klein, lambda photo: {"image_paths": [photo]}),
    "flux3-base-edit": _case(
        Flux3KleinEdit, ModelConfig.flux3_image_klein_base, lambda photo: {"image_paths": [photo, photo]}
    ),
}
