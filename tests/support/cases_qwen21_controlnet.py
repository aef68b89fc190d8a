"""One case per way to run Qwen-Image 2.1 with its ControlNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases_qwen21
import tiny_models
from cases_qwen21 import GUIDANCE, SIZES
from cases_qwen21_edit import qwen21_edit
from mflux.models.qwen21.variants.controlnet.qwen_image21_controlnet_transformer import QwenImage21ControlNet
from mflux.models.qwen21.variants.controlnet.qwen_image_21_controlnet import QwenImage21Controlnet
from tiny_models import Case


def qwen21_controlnet(control_layers: tuple[int, ...] = (0, 2)) -> Any:
    """A ControlNet pipeline; the control blocks of the real one, too, add to every second block but the last."""
    model = qwen21_edit(QwenImage21Controlnet)
    controlnet = QwenImage21ControlNet({**SIZES, "control_layers": control_layers})
    model.controlnet = tiny_models.randomised(controlnet, seed=15, scale=0.1)
    return model


def _case(make: Callable[[], Any] = qwen21_controlnet, **more: Any) -> Case:
    return cases_qwen21.case(QwenImage21Controlnet, make, lambda photo: {"controlnet_image_path": photo}, **more)


CASES = {
    "qwen21-controlnet": _case(),
    "qwen21-controlnet-guidance": _case(**GUIDANCE),
    "qwen21-controlnet-after-the-last": _case(lambda: qwen21_controlnet((0, 3))),
}
