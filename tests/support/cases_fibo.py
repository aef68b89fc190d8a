"""One case per way to run FIBO; inside ``tiny_models.narrow()``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import stub_tokenizers
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.fibo.model.fibo_transformer.text_projection import BriaFiboTextProjection
from mflux.models.fibo.model.fibo_transformer.transformer import FiboTransformer
from mflux.models.fibo.variants.edit.fibo_edit import FIBOEdit
from mflux.models.fibo.variants.txt2img.fibo import FIBO
from mlx import nn
from tiny_models import Case

_TEXT_LAYERS = 46  # mflux's prompt encoder always hands over as many, however many blocks there are


class VAE(nn.Module):
    """Sixteen by sixteen pixels to one latent of 48 channels and back."""

    def decode(self, latents: mx.array) -> mx.array:
        return mx.tanh(mx.repeat(mx.repeat(latents[:, :3], 16, axis=2), 16, axis=3))

    def encode(self, image: mx.array) -> mx.array:
        batch, channels, height, width = image.shape
        blocks = image.reshape(batch, channels, height // 16, 16, width // 16, 16).mean(axis=(3, 5))
        return mx.concatenate([blocks] * 16, axis=1)


def fibo(cls: type, config: ModelConfig) -> Any:
    """A FIBO pipeline; call it inside ``narrow()``, and keep using it there."""
    model = tiny_models._pipeline(cls, config)
    model.tokenizers = {"fibo": stub_tokenizers.Tokenizer()}
    model.text_encoder = _hidden_states
    transformer = FiboTransformer(num_layers=2, num_single_layers=2)
    transformer.caption_projection = [BriaFiboTextProjection() for _ in range(_TEXT_LAYERS)]
    model.transformer = tiny_models.randomised(transformer, seed=8)
    model.vae = VAE()
    return model


def _hidden_states(*, input_ids: mx.array, **_: Any) -> list[mx.array]:
    return [stub_tokenizers.embedding(input_ids, width=16, layer=layer) for layer in range(_TEXT_LAYERS)]


def _case(cls: type, config: Callable[[], ModelConfig], arguments: Callable[[Path], dict[str, Any]]) -> Case:
    prompt = '{"edit_instruction": "paint it red"}'
    return Case(cls, lambda photo: (fibo(cls, config()), {"prompt": prompt, **arguments(photo)}))


CASES = {
    "fibo": _case(FIBO, ModelConfig.fibo, lambda photo: {"guidance": 1.0}),
    "fibo-guidance": _case(FIBO, ModelConfig.fibo, lambda photo: {"guidance": 4.0}),
    "fibo-lite": _case(FIBO, ModelConfig.fibo_lite, lambda photo: {}),
    "fibo-img2img": _case(FIBO, ModelConfig.fibo, lambda photo: {"image_path": photo, "image_strength": 0.4}),
    "fibo-edit": _case(FIBOEdit, ModelConfig.fibo_edit, lambda photo: {"image_path": photo, "guidance": 1.0}),
    "fibo-edit-guidance": _case(FIBOEdit, ModelConfig.fibo_edit, lambda photo: {"image_path": photo}),
    "fibo-edit-rmbg": _case(FIBOEdit, ModelConfig.fibo_edit_rmbg, lambda photo: {"image_path": photo, "guidance": 1.0}),
}
