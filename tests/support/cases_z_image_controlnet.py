"""Z-Image with control images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_models
from cases_z_image import PROMPT, z_image
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.z_image.model.z_image_transformer.transformer import ZImageTransformer
from mflux.models.z_image.variants.controlnet.control_types import ControlSpec, ControlType
from mflux.models.z_image.variants.controlnet.transformer_controlnet import ZImageControlNet, ZImageControlNetConfig
from mflux.models.z_image.variants.controlnet.z_image_turbo_controlnet import ZImageTurboControlnet
from tiny_models import Case


def _controlnet(transformer: ZImageTransformer) -> ZImageControlNet:
    """Adds to the stream between layers and, which mflux's own does not, after the last one."""
    config = ZImageControlNetConfig(
        control_layers_places=[0, 2], control_refiner_layers_places=[0], dim=32, n_refiner_layers=1, n_heads=2
    )
    controlnet = tiny_models.randomised(ZImageControlNet(config), seed=6, scale=0.1)
    return ZImageControlNet.from_transformer(controlnet, transformer)


def _make(photo: Path) -> tuple[Any, dict[str, Any]]:
    model = z_image(ZImageTurboControlnet, ModelConfig.z_image_turbo_controlnet_union_2_1())
    model.controlnet = _controlnet(model.transformer)
    controls = [ControlSpec(ControlType.canny, photo), ControlSpec(ControlType.canny, photo, 0.5)]
    return model, {"prompt": PROMPT, "controls": controls}


CASES = {"z-image-controlnet": Case(ZImageTurboControlnet, _make)}
