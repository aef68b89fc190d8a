"""Ideogram 4: one transformer for the prompt and another for guidance's branch without it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.ideogram4.model.ideogram4_transformer import Fp8Linear, Ideogram4Config, Ideogram4Transformer
from mflux.models.ideogram4.variants.txt2img.ideogram4 import Ideogram4
from mlx import nn
from stub_prompts import Prompts, embedded
from tiny_models import Case


class _Tokenizer:
    def tokenize_one(self, prompt: str) -> np.ndarray:
        return np.array([ord(letter) for letter in prompt])


def _features(key: tuple[str, int, int]) -> mx.array:
    """A row for each letter, then one for each latent."""
    prompt, width, height = key
    return embedded(prompt, 1, len(prompt) + (width // 16) * (height // 16), 20)


def _transformer(seed: int) -> nn.Module:
    transformer = tiny_models.randomised(
        Ideogram4Transformer(
            Ideogram4Config(
                emb_dim=32,
                num_layers=3,
                num_heads=2,
                intermediate_size=48,
                adanln_dim=8,
                llm_features_dim=20,
                mrope_section=(2, 1, 1),
            )
        ),
        seed,
        scale=0.3,
    )
    for module in transformer.modules():
        if isinstance(module, Fp8Linear):  # its codes are integers, which stay zero
            module.weight = mx.to_fp8(mx.random.normal(module.weight.shape) * 0.3)
    mx.eval(transformer.parameters())
    return transformer


def _case(**arguments: Any) -> Case:
    def make(photo: Path) -> tuple[Any, dict[str, Any]]:
        model = tiny_models._pipeline(Ideogram4, ModelConfig.ideogram4_fp8())
        model.prompt_cache = Prompts(_features)
        model.tokenizers = {"ideogram4": _Tokenizer()}
        model.text_encoder = None
        model.conditional_transformer = _transformer(5)
        model.unconditional_transformer = _transformer(6)
        model.vae = tiny_models.Flux1VAE()
        return model, {"prompt": "red apple", "warn_on_caption_issues": False, **arguments}

    return Case(Ideogram4, make, compiled=True)


CASES = {
    "ideogram4": _case(),
    "ideogram4-one-branch": _case(guidance=1.0),
}
if "cfg_end" in inspect.signature(Ideogram4.generate_image).parameters:  # younger than the pipeline
    CASES["ideogram4-cfg-end"] = _case(guidance=4.0, cfg_end=0.6)
