"""Krea 2 with a control image, which enters with the latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cases_krea2 import krea2
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.krea2.variants.controlnet.krea2_controlnet import Krea2Controlnet
from tiny_models import Case


def _case(**arguments: Any) -> Case:
    def make(photo: Path) -> tuple[Any, dict[str, Any]]:
        model = krea2(Krea2Controlnet, ModelConfig.krea2_controlnet_depth(), control=True)
        model.controlnet_strength = 1.0
        return model, {"depth_image_path": photo, **arguments}

    return Case(Krea2Controlnet, make, compiled=True)


CASES = {"krea2-controlnet": _case(), "krea2-controlnet-guidance": _case(guidance=4.0)}
