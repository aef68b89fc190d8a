"""One case per way to run Qwen-Image 2.1: text to image, edit with and without its key/value cache, ControlNet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import stub_prompts
import tiny_models
from mflux.models.common.compute_precision import ComputePrecision
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.qwen21.model.qwen21_transformer.qwen21_transformer import Qwen21Transformer
from mflux.models.qwen21.model.qwen21_transformer.qwen_image21_transformer import QwenImage21Transformer
from mflux.models.qwen21.variants.controlnet.qwen_image21_controlnet_transformer import QwenImage21ControlNet
from mflux.models.qwen21.variants.controlnet.qwen_image_21_controlnet import QwenImage21Controlnet
from mflux.models.qwen21.variants.edit.qwen_image_21_edit import QwenImage21Edit
from mflux.models.qwen21.variants.txt2img.qwen_image_21 import QwenImage21
from tiny_models import Case

_TEXT_WIDTH = 12
_SIZES = {
    "in_channels": 64,
    "out_channels": 64,
    "num_layers": 4,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "context_in_dim": _TEXT_WIDTH,
    "mlp_ratio": 2,
    "axes_dims_rope": (4, 6, 6),
}
_RGB = slice(0, 3)


class _VAE:
    """Sixteen by sixteen pixels of four channels to one latent of 64, and back to three, by averaging and repeating."""

    def encode(self, image: mx.array) -> mx.array:
        batch, channels, height, width = image.shape
        blocks = image.reshape(batch, channels, height // 16, 16, width // 16, 16).mean(axis=(3, 5))
        return mx.concatenate([blocks] * 22, axis=1)[:, :64, None]

    def decode(self, latents: mx.array) -> mx.array:
        latents = latents[:, _RGB, 0] if latents.ndim == 5 else latents[:, _RGB]
        return mx.tanh(mx.repeat(mx.repeat(latents, 16, axis=2), 16, axis=3))


def qwen21(config: ModelConfig) -> Any:
    """A text-to-image pipeline, 32 wide with 4 blocks."""
    model = _pipeline(QwenImage21, config)
    model._encode_prompt = _embedding
    model.transformer = tiny_models.randomised(Qwen21Transformer(**_SIZES), seed=13, scale=0.1)
    return model


def qwen21_edit(cls: type = QwenImage21Edit) -> Any:
    """An edit pipeline; each reference image adds 4 slots of one quarter of its latents to the prompt."""
    model = _pipeline(cls, ModelConfig.qwen_image_21())
    model.transformer = tiny_models.randomised(QwenImage21Transformer(_SIZES), seed=14, scale=0.1)
    model._encode_prompt = _encode_prompt
    return model


def qwen21_controlnet(control_layers: tuple[int, ...] = (0, 2)) -> Any:
    """A ControlNet pipeline; the control blocks of the real one, too, add to every second block but the last."""
    model = qwen21_edit(QwenImage21Controlnet)
    config = {**_SIZES, "control_layers": control_layers}
    model.controlnet = tiny_models.randomised(QwenImage21ControlNet(config), seed=15, scale=0.1)
    return model


def _pipeline(cls: type, config: ModelConfig) -> Any:
    model = tiny_models._pipeline(cls, config)
    model.compute_precision = ComputePrecision(None)
    model.processor = SimpleNamespace(
        image_processor=SimpleNamespace(size={"shortest_edge": 16, "longest_edge": 1024 * 1024})
    )
    model.vae = _VAE()
    return model


def _embedding(prompt: str) -> tuple[mx.array, mx.array]:
    """The longer the prompt, the longer the text."""
    length = 3 + len(prompt) % 5
    return stub_prompts.embedded(prompt, 1, length, _TEXT_WIDTH), mx.ones((1, length), dtype=mx.int32)


def _padded(prompt: str) -> tuple[mx.array, mx.array]:
    """With two tokens of padding, which keep the text from being cached."""
    embedding, mask = _embedding(prompt)
    return embedding, mx.where(mx.arange(mask.shape[1])[None] < mask.shape[1] - 2, mask, 0)


def _encode_prompt(prompt: str, images: list[Any] | None = None) -> tuple[mx.array, mx.array]:
    """Embeddings, and which of them are slots for reference images: they come before the prompt."""
    slots = sum((image.width // 32) * (image.height // 32) for image in images or ())
    rows = slots + _embedding(prompt)[0].shape[1]
    return stub_prompts.embedded(prompt, 1, rows, _TEXT_WIDTH), mx.arange(rows) < slots


def _case(cls: type, make: Callable[[], Any], arguments: Callable[[Path], dict[str, Any]], **more: Any) -> Case:
    return Case(cls, lambda photo: (make(), {"prompt": "a red apple", **arguments(photo), **more}), smaller=(64, 32))


def _txt2img(arguments: Callable[[Path], dict[str, Any]] = lambda photo: {}, **more: Any) -> Case:
    return _case(QwenImage21, lambda: qwen21(ModelConfig.qwen_image_21()), arguments, **more)


def _edit(photos: int = 1, mask: bool = False, **more: Any) -> Case:
    def arguments(photo: Path) -> dict[str, Any]:
        given = {"image_paths": [photo] * photos, "output_resolution": 64}
        return {**given, "mask_image": photo} if mask else given

    return _case(QwenImage21Edit, qwen21_edit, arguments, **more)


def _controlnet(make: Callable[[], Any] = qwen21_controlnet, **more: Any) -> Case:
    return _case(QwenImage21Controlnet, make, lambda photo: {"controlnet_image_path": photo}, **more)


_GUIDANCE = {"guidance": 4.0, "negative_prompt": "blurry, grey"}


def _qwen21_padded() -> Any:
    model = qwen21(ModelConfig.qwen_image_21())
    model._encode_prompt = _padded
    return model


CASES = {
    "qwen21": _txt2img(),
    "qwen21-guidance": _txt2img(**_GUIDANCE),
    "qwen21-img2img": _txt2img(lambda photo: {"image_path": photo, "image_strength": 0.4}, **_GUIDANCE),
    "qwen21-padded": _case(QwenImage21, _qwen21_padded, lambda photo: {}, **_GUIDANCE),
    "qwen21-turbo": _case(QwenImage21, lambda: qwen21(ModelConfig.qwen_image_21_turbo()), lambda photo: {}),
    "qwen21-edit": _edit(),
    "qwen21-edit-guidance": _edit(**_GUIDANCE),
    "qwen21-edit-two-images": _edit(photos=2),
    "qwen21-edit-no-image": _edit(photos=0),
    "qwen21-edit-img2img": _edit(strength=0.6, **_GUIDANCE),
    "qwen21-edit-mask": _edit(mask=True),
    "qwen21-edit-no-cache": _edit(use_kv_cache=False, **_GUIDANCE),
    "qwen21-controlnet": _controlnet(),
    "qwen21-controlnet-guidance": _controlnet(**_GUIDANCE),
    "qwen21-controlnet-after-the-last": _controlnet(lambda: qwen21_controlnet((0, 3))),
}
