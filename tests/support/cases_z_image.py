"""One case per way to run Z-Image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import stub_tokenizers
import tiny_models
from mflux.models.common.compute_precision import ComputePrecision
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.z_image.model.z_image_transformer.transformer import ZImageTransformer
from mflux.models.z_image.variants.controlnet.control_types import ControlSpec, ControlType
from mflux.models.z_image.variants.controlnet.transformer_controlnet import ZImageControlNet, ZImageControlNetConfig
from mflux.models.z_image.variants.controlnet.z_image_turbo_controlnet import ZImageTurboControlnet
from mflux.models.z_image.variants.z_image import ZImage
from tiny_models import Case

# Captions are padded to multiples of 32: longer than that, so that guidance's branches differ in length.
_PROMPT = "a red apple on a wooden table in the morning"


def z_image(cls: type, config: ModelConfig) -> Any:
    """A Z-Image pipeline, 32 wide."""
    model = tiny_models._pipeline(cls, config)
    model.tokenizers = {"z_image": stub_tokenizers.Tokenizer()}
    model.text_encoder = lambda ids, mask: stub_tokenizers.embedding(ids, width=12)
    model.compute_precision = ComputePrecision(None)
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
    if cls is ZImageTurboControlnet:
        model.controlnet = _controlnet(model.transformer)
    return model


def _controlnet(transformer: ZImageTransformer) -> ZImageControlNet:
    """Adds to the stream between layers and, which mflux's own does not, after the last one."""
    config = ZImageControlNetConfig(
        control_layers_places=[0, 2], control_refiner_layers_places=[0], dim=32, n_refiner_layers=1, n_heads=2
    )
    controlnet = tiny_models.randomised(ZImageControlNet(config), seed=6, scale=0.1)
    return ZImageControlNet.from_transformer(controlnet, transformer)


def _case(
    cls: type,
    config: Callable[[], ModelConfig],
    arguments: Callable[[Path], dict[str, Any]],
    compiled: bool = True,
) -> Case:
    return Case(cls, lambda photo: (z_image(cls, config()), {"prompt": _PROMPT, **arguments(photo)}), compiled)


def _controls(photo: Path) -> dict[str, Any]:
    return {"controls": [ControlSpec(ControlType.canny, photo), ControlSpec(ControlType.canny, photo, 0.5)]}


CASES = {
    "z-image": _case(ZImage, ModelConfig.z_image, lambda photo: {"guidance": 0.0}),
    "z-image-guidance": _case(ZImage, ModelConfig.z_image, lambda photo: {"guidance": 4.0}),
    "z-image-turbo": _case(ZImage, ModelConfig.z_image_turbo, lambda photo: {}),
    "z-image-img2img": _case(
        ZImage, ModelConfig.z_image, lambda photo: {"image_path": photo, "image_strength": 0.4, "guidance": 4.0}
    ),
    "z-image-controlnet": _case(
        ZImageTurboControlnet, ModelConfig.z_image_turbo_controlnet_union_2_1, _controls, compiled=False
    ),
}
