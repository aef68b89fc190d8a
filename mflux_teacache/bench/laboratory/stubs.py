"""What stands in for prompt encoders and VAEs beside a transformer with random weights."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
from mflux.models.common.config.model_config import ModelConfig
from mlx import nn

CHARACTERS_PER_TOKEN = 4  # of English text, roughly, with the tokenizers of the text encoders in use


class Tokenizer:
    """Gives as many tokens as mflux's would, about.

    Args:
        padded_to: mflux pads prompts of this family to so many tokens; ``None`` = it does not.
        template: tokens that the family puts around a prompt and keeps.
    """

    def __init__(self, padded_to: int | None = None, template: int = 0) -> None:
        self._padded_to = padded_to
        self._template = template

    def tokenize(self, prompt: str | list[str], **_: Any) -> Any:
        text = prompt if isinstance(prompt, str) else prompt[0]
        count = self._padded_to or self._template + -(-max(len(text), 1) // CHARACTERS_PER_TOKEN)
        ids = (mx.arange(count) + sum(map(ord, text)))[None]
        return SimpleNamespace(input_ids=ids, attention_mask=mx.ones(ids.shape, dtype=mx.int32))


def embedding(ids: mx.array, width: int) -> mx.array:
    """Random, the same for the same prompt. Shape ``(1, tokens, width)``, in mflux's precision."""
    key = mx.random.key(ids.sum().item())  # type: ignore[arg-type]
    return mx.random.normal((*ids.shape, width), dtype=ModelConfig.precision, key=key)


class HiddenStatesEncoder:
    """FLUX.2's text encoder, as its prompt encoder calls it."""

    def __init__(self, width: int) -> None:
        self._width = width

    def get_prompt_embeds(self, *, input_ids: mx.array, **_: Any) -> mx.array:
        return embedding(input_ids, self._width)


def token_encoder(width: int) -> Callable[..., mx.array]:
    """T5, and Z-Image's: an embedding for each token."""
    return lambda ids, *_: embedding(ids, width)


def pooling_encoder(width: int) -> Callable[[mx.array], mx.array]:
    """CLIP: one embedding, ``(1, width)``."""
    return lambda ids: embedding(ids, width)[:, 0]


def masked_encoder(width: int) -> Callable[..., tuple[mx.array, mx.array]]:
    """Qwen-Image's: embedding and mask."""
    return lambda *, input_ids, attention_mask: (embedding(input_ids, width), attention_mask)


def layered_encoder(width: int, layers: int) -> Callable[..., list[mx.array]]:
    """FIBO's: the hidden states of every layer."""
    return lambda *, input_ids, **_: [embedding(input_ids + layer, width) for layer in range(layers)]


class BlankVAE(nn.Module):
    """Decodes to a grey image of the right size: the decoder costs the same with and without plugins.

    Args:
        scale: pixels to a side of a latent.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        self._scale = scale

    def decode(self, latents: mx.array) -> mx.array:
        """``(batch, channels, rows, columns)`` to ``(batch, 3, scale rows, scale columns)``."""
        rows, columns = latents.shape[-2:]
        return mx.zeros((latents.shape[0], 3, self._scale * rows, self._scale * columns))

    def decode_packed_latents(self, latents: mx.array, **_: Any) -> mx.array:
        """FLUX.2's name for it."""
        return self.decode(latents)
