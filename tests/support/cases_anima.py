"""Anima: its predict function captures the prompt and is built before mflux's callbacks start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny_models
from mflux.models.anima.model.anima_transformer.anima_transformer import AnimaTransformer
from mflux.models.anima.variants.txt2img.anima import Anima
from mflux.models.common.compute_precision import ComputePrecision
from mflux.models.common.config.model_config import ModelConfig
from stub_prompts import Prompts, embedded
from tiny_models import Case


def _case(config: Callable[[], ModelConfig], **arguments: Any) -> Case:
    def make(photo: Path) -> tuple[Any, dict[str, Any]]:
        model = tiny_models._pipeline(Anima, config())
        model.compute_precision = ComputePrecision(None)
        model.prompt_cache = Prompts(lambda prompt: embedded(prompt, 1, 5, 32))
        model.transformer = tiny_models.randomised(
            AnimaTransformer(dim=48, num_blocks=3, num_heads=2, context_dim=32, adaln_lora_dim=8), seed=6, scale=0.1
        )
        model.vae = tiny_models.Flux1VAE()
        return model, dict(arguments)

    return Case(Anima, make, compiled=True)


CASES = {
    "anima-turbo": _case(ModelConfig.anima_turbo),
    "anima-guidance": _case(ModelConfig.anima_base, guidance=4.0),
    "anima-euler": _case(ModelConfig.anima_aesthetic, scheduler="euler"),
}
