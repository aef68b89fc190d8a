"""One case per way to run Qwen-Image and Qwen-Image-Edit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import stub_tokenizers
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.qwen.model.qwen_transformer.qwen_transformer import QwenTransformer
from mflux.models.qwen.variants.edit.qwen_image_edit import QwenImageEdit
from mflux.models.qwen.variants.txt2img.qwen_image import QwenImage
from tiny_models import Case


def qwen(cls: type, config: ModelConfig) -> Any:
    """A Qwen-Image pipeline with one head; its RoPE wants 128 channels for each."""
    model = tiny_models._pipeline(cls, config)
    model.tokenizers = {"qwen": stub_tokenizers.Tokenizer(), "qwen_vl": stub_tokenizers.Tokenizer()}
    model.text_encoder = model.qwen_vl_encoder = stub_tokenizers.masked_encoder(width=32)
    model.prompt_cache = {}
    model.transformer = tiny_models.randomised(
        QwenTransformer(
            num_layers=3,
            num_attention_heads=1,
            joint_attention_dim=32,
            **config.transformer_overrides,
        ),
        seed=4,
    )
    model.vae = tiny_models.Flux1VAE()
    if cls is QwenImageEdit:
        model._compute_dimensions = _small(model._compute_dimensions)
    return model


def _small(compute_dimensions: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Reference images of 64x64 pixels: mflux up to 0.18 scales them to 384x384 or more."""

    def compute(**arguments: Any) -> tuple[Any, ...]:
        config, *sizes = compute_dimensions(**arguments)
        return (config, *(min(size, 64) for size in sizes))

    return compute


def _case(cls: type, config: Callable[[], ModelConfig], arguments: Callable[[Path], dict[str, Any]]) -> Case:
    return Case(cls, lambda photo: (qwen(cls, config()), {"prompt": "a red apple", **arguments(photo)}))


CASES = {
    "qwen": _case(QwenImage, ModelConfig.qwen_image, lambda photo: {}),
    "qwen-img2img": _case(
        QwenImage, ModelConfig.qwen_image, lambda photo: {"image_path": photo, "image_strength": 0.4}
    ),
    "qwen-edit-2509": _case(QwenImageEdit, ModelConfig.qwen_image_edit, lambda photo: {"image_paths": [photo]}),
    "qwen-edit-2509-two-images": _case(
        QwenImageEdit, ModelConfig.qwen_image_edit, lambda photo: {"image_paths": [photo, photo]}
    ),
}
if hasattr(ModelConfig, "qwen_image_edit_2511"):  # younger than the pipeline
    CASES["qwen-edit-2511"] = _case(
        QwenImageEdit, ModelConfig.qwen_image_edit_2511, lambda photo: {"image_paths": [photo]}
    )
