"""One case per way to run Z-Image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import stub_tokenizers
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.z_image.model.z_image_transformer.transformer import ZImageTransformer
from mflux.models.z_image.variants.z_image import ZImage
from tiny_models import Case

# Captions are padded to multiples of 32: longer than that, so that guidance's branches differ in length.
PROMPT = "a red apple on a wooden table in the morning"


def z_image(cls: type, config: ModelConfig) -> Any:
    """A Z-Image pipeline, 32 wide."""
    model = tiny_models._pipeline(cls, config)
    model.tokenizers = {"z_image": stub_tokenizers.Tokenizer()}
    model.text_encoder = lambda ids, mask: stub_tokenizers.embedding(ids, width=12)
    tiny_models.default_precision(model)
    model.float32 = False
    model.transformer = tiny_models.randomised(
        ZImageTransformer(
            dim=32,
            n_layers=3,
            n_refiner_layers=1,
            n_heads=2,
            cap_feat_dim=12,
            axes_dims=[4, 6, 6],
            axes_lens=[256, 32, 32],
        ),
        seed=5,
        scale=0.1,
    )
    model.vae = tiny_models.Flux1VAE()
    return model


def _case(config: Callable[[], ModelConfig], arguments: Callable[[Path], dict[str, Any]]) -> Case:
    return Case(
        ZImage, lambda photo: (z_image(ZImage, config()), {"prompt": PROMPT, **arguments(photo)}), compiled=True
    )


CASES = {
    "z-image": _case(ModelConfig.z_image, lambda photo: {"guidance": 0.0}),
    "z-image-guidance": _case(ModelConfig.z_image, lambda photo: {"guidance": 4.0}),
    "z-image-turbo": _case(ModelConfig.z_image_turbo, lambda photo: {}),
    "z-image-img2img": _case(
        ModelConfig.z_image, lambda photo: {"image_path": photo, "image_strength": 0.4, "guidance": 4.0}
    ),
}
