"""Text encoders for tests: a prompt is random numbers that its letters seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx


def embedded(prompt: str | None, *shape: int) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(sum(map(ord, prompt or ""))))


class Prompts(dict[Any, Any]):
    """A prompt cache that knows every prompt, so that mflux asks no text encoder.

    Args:
        make: from the key of mflux's cache to its value.
    """

    def __init__(self, make: Callable[[Any], Any]) -> None:
        super().__init__()
        self._make = make

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        return self._make(key)
