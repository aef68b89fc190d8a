"""One case per way to run FIBO 2: its stream's length and its number of branches may change during a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import stub_prompts
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.fibo2.model.fibo2_text_encoder.prompt_encoder import Fibo2PromptEncoder
from mflux.models.fibo2.model.fibo2_transformer.fibo2_transformer import Fibo2Transformer
from mflux.models.fibo2.variants import Fibo2, Fibo2Edit
from tiny_models import Case

# A caption with a text to show: the text encoder gets its picture once the noise level is at or below 0.9.
_WITH_TEXT = json.dumps({"short_description": "a shop sign", "text_render": [{"text": "OPEN"}]})
_PLAIN = "a red apple on a wooden table"


class _VAE(tiny_models.Flux2VAE):
    def normalize_latents(self, latents: mx.array) -> mx.array:
        return latents


def fibo2(cls: type, config: ModelConfig) -> Any:
    """A FIBO 2 pipeline, 32 wide; its stream starts with 2 to 8 gist rows, as many as the text has tokens."""
    model = tiny_models._pipeline(cls, config)
    model.fonts_dir = None
    model._encode_prompt = _encode_prompt
    model.transformer = tiny_models.randomised(
        Fibo2Transformer(
            dim=32,
            n_layers=4,
            n_refiner_layers=1,
            n_heads=2,
            cap_feat_dim=12,
            injection_layer_ids=(1, 3),
            perceiver_num_layers=1,
            max_num_gist_tokens=8,
            axes_dims=(4, 6, 6),
            axes_lens=(256, 32, 32),
        ),
        seed=12,
        scale=0.1,
    )
    perceiver = model.transformer.perceiver
    perceiver.min_gist, perceiver.gist_step, perceiver.min_text_len, perceiver.max_text_len = 2, 1, 2, 8
    model.vae = _VAE()
    return model


def _encode_prompt(prompt: str, images: list[Any] | None = None) -> mx.array:
    """One text bundle for the gist and one for each injection; each image adds a token to the prompt's five."""
    negative = prompt in (Fibo2PromptEncoder.NULL_CAPTION, Fibo2PromptEncoder.TEXT_TO_IMAGE_NEGATIVE)
    return stub_prompts.embedded(prompt, 1, 3, (3 if negative else 5) + len(images or ()), 12)


def _case(cls: type, config: str = "fibo2", photos: int = 0, **arguments: Any) -> Case:
    def make(photo: Path) -> tuple[Any, dict[str, Any]]:
        edited = {"image_paths": [photo] * photos} if photos else {}
        return fibo2(cls, getattr(ModelConfig, config)()), {"prompt": _PLAIN, **edited, **arguments}

    return Case(cls, make)


CASES = {
    "fibo2": _case(Fibo2, guidance=1.0),
    "fibo2-guidance": _case(Fibo2),
    "fibo2-guidance-ends": _case(Fibo2, cfg_end=0.6),  # after 3 of 5 steps
    "fibo2-text-images": _case(Fibo2, prompt=_WITH_TEXT),
    "fibo2-edit": _case(Fibo2Edit, "fibo2_edit_turbo", photos=1),
    "fibo2-edit-guidance": _case(Fibo2Edit, photos=1),
}
