"""One case per way to edit with Qwen-Image 2.1, with and without its key/value cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cases_qwen21
import mlx.core as mx
import stub_prompts
import tiny_models
from cases_qwen21 import GUIDANCE
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.qwen21.model.qwen21_transformer.qwen21_layout import QwenImage21Layout
from mflux.models.qwen21.model.qwen21_transformer.qwen_image21_transformer import QwenImage21Transformer
from mflux.models.qwen21.variants.edit.qwen_image_21_edit import QwenImage21Edit
from tiny_models import Case


def qwen21_edit(cls: type = QwenImage21Edit) -> Any:
    """An edit pipeline; each reference image adds 4 slots of one quarter of its latents to the prompt."""
    model = cases_qwen21.pipeline(cls, ModelConfig.qwen_image_21())
    model.transformer = tiny_models.randomised(QwenImage21Transformer(cases_qwen21.SIZES), seed=14, scale=0.1)
    model._encode_prompt = _encode_prompt
    return model


def _encode_prompt(prompt: str, images: list[Any] | None = None) -> tuple[mx.array, mx.array]:
    """Embeddings, and which of them are slots for reference images: they come before the prompt."""
    embedding = cases_qwen21.embedding(prompt)[0]
    slots = sum((image.width // 32) * (image.height // 32) for image in images or ())
    rows = slots + embedding.shape[1]
    return stub_prompts.embedded(prompt, 1, rows, embedding.shape[2]), mx.arange(rows) < slots


def call_for_a_prediction(model: Any) -> dict[str, Any]:
    """Arguments of its transformer: 16 rows of image, 5 of text, no reference image."""
    layout = QwenImage21Layout.create(mx.zeros((5,)), [(1, 4, 4)], model.transformer.axes)
    return {
        "hidden_states": mx.random.normal((1, 16, 64)),
        "encoder_hidden_states": mx.random.normal((1, 5, 12)),
        "timestep": mx.array([0.5]),
        "layout": layout,
    }


def _case(photos: int = 1, mask: bool = False, **more: Any) -> Case:
    def arguments(photo: Path) -> dict[str, Any]:
        given = {"image_paths": [photo] * photos, "output_resolution": 64}
        return {**given, "mask_image": photo} if mask else given

    return cases_qwen21.case(QwenImage21Edit, qwen21_edit, arguments, **more)


CASES = {
    "qwen21-edit": _case(),
    "qwen21-edit-guidance": _case(**GUIDANCE),
    "qwen21-edit-two-images": _case(photos=2),
    "qwen21-edit-no-image": _case(photos=0),
    "qwen21-edit-img2img": _case(strength=0.6, **GUIDANCE),
    "qwen21-edit-mask": _case(mask=True),
    "qwen21-edit-no-cache": _case(use_kv_cache=False, **GUIDANCE),
}
