"""Stub tokenizers and text encoders: a token for each character, a random embedding for each prompt."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mlx.core as mx


class Tokenizer:
    """Prompts of different lengths make text streams of different lengths."""

    def tokenize(self, prompt: str | list[str], **_: Any) -> Any:
        text = prompt if isinstance(prompt, str) else prompt[0]
        ids = mx.array([[ord(letter) for letter in text]])
        return SimpleNamespace(input_ids=ids, attention_mask=mx.ones(ids.shape, dtype=mx.int32))

    def tokenize_with_image(self, prompt: str, image_paths: list[Any], **_: Any) -> tuple[Any, ...]:
        tokens = self.tokenize(prompt + "|")
        return tokens.input_ids, tokens.attention_mask, mx.zeros((1, 3)), mx.ones((len(image_paths), 3))


def embedding(ids: mx.array, width: int, layer: int = 0) -> mx.array:
    """Shape ``(1, tokens, width)``; the same for the same prompt."""
    return mx.random.normal((*ids.shape, width), key=mx.random.key(1000 * int(ids.sum().item()) + layer))


def masked_encoder(width: int) -> Callable[..., tuple[mx.array, mx.array]]:
    """Returns embedding and mask, as Qwen's text encoders do."""
    return lambda *, input_ids, attention_mask, **_: (embedding(input_ids, width), attention_mask)
