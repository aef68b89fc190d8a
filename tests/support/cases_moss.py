"""One case per way to run MOSS-Image: guidance's second branch leaves layers out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import stub_prompts
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.moss_image.model.moss_image_transformer.moss_image_transformer import MOSSImageTransformer
from mflux.models.moss_image.variants.txt2img.moss_image import MOSSImage
from tiny_models import Case


def moss() -> Any:
    """A MOSS-Image pipeline, 32 wide with 4 layers."""
    model = tiny_models._pipeline(MOSSImage, ModelConfig.moss_image_sft())
    model.prompt_cache = stub_prompts.Prompts(_embedding)
    model.bake_lora = False
    model.transformer = tiny_models.randomised(
        MOSSImageTransformer(dim=32, ffn_dim=48, num_heads=2, num_layers=4, text_dim=12, freq_dim=16),
        seed=11,
        scale=0.3,
    )
    model.vae = SimpleNamespace(decode_packed_latents=tiny_models.Flux2VAE().decode_packed_latents)
    return model


def _embedding(prompt: str) -> Any:
    """The negative prompt is shorter: its branch has another text length."""
    return stub_prompts.embedded(prompt, 1, 7 if prompt else 5, 12)


def _case(*skip_layers: int, guidance: float = 3.0) -> Case:
    def make(photo: Path) -> tuple[Any, dict[str, Any]]:
        return moss(), {"guidance": guidance, "uncond_skip_layers": skip_layers}

    return Case(MOSSImage, make)


CASES = {
    "moss": _case(2, guidance=1.0),
    "moss-guidance": _case(2),
    "moss-guidance-all-layers": _case(),
    "moss-without-the-first": _case(0),
    "moss-without-the-last": _case(3),
    "moss-without-the-first-two-and-the-last": _case(0, 1, 3),
}
