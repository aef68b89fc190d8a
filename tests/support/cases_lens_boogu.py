"""Lens (a plain class, not an nn.Module) and Boogu: one call per step, no guidance, nothing compiled."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tiny_models
from mflux.models.boogu.model.boogu_transformer.boogu_transformer import BooguImageTransformer
from mflux.models.boogu.variants.txt2img.boogu_image import BooguImage
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.lens.model.transformer.lens_transformer import LensTransformer
from mflux.models.lens.variants.txt2img.lens_image import LensImage
from stub_prompts import embedded
from tiny_models import Case


def _lens(photo: Path) -> tuple[Any, dict[str, Any]]:
    model = tiny_models._pipeline(LensImage, ModelConfig.lens_turbo())
    model.text_encoder = SimpleNamespace(encode=lambda prompt: embedded(prompt, 1, 5, 2, 12))
    model.transformer = tiny_models.randomised(
        LensTransformer(num_layers=3, num_attention_heads=1, enc_hidden_dim=12, num_selected_layers=2), seed=7
    )
    model.vae = tiny_models.Flux2VAE()
    return model, {}


def _boogu(photo: Path) -> tuple[Any, dict[str, Any]]:
    model = tiny_models._pipeline(BooguImage, ModelConfig.boogu_image_turbo())
    model._encode_instruction = lambda prompt: embedded(prompt, 1, 5, 12)
    model.transformer = tiny_models.randomised(
        BooguImageTransformer(
            hidden_size=48,
            num_layers=5,
            num_double_stream_layers=2,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=16,
            axes_dim_rope=(8, 8, 8),
            axes_lens=(64, 32, 32),
            instruction_feat_dim=12,
        ),
        seed=8,
        scale=0.1,
    )
    model.vae = tiny_models.Flux1VAE()
    return model, {}


CASES = {"lens": Case(LensImage, _lens), "boogu": Case(BooguImage, _boogu)}
