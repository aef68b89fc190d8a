"""Times mflux's denoising loop, the same way with and without plugins."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mflux.models.common.config.config import Config


class LoopClock:
    """A callback of mflux. Its progress bar gets a label.

    Args:
        keep_bar: leave the bar on the screen when it is full.

    Attributes:
        seconds: of the loop; NaN until it has ended.
    """

    def __init__(self, label: str, *, keep_bar: bool = True) -> None:
        self.seconds = math.nan
        self._label = label
        self._keep_bar = keep_bar
        self._begun = math.nan

    def call_before_loop(self, *, latents: mx.array, config: Config, **_: Any) -> None:
        config.time_steps.leave = self._keep_bar
        config.time_steps.set_description(self._label)
        mx.eval(latents)
        self._begun = time.perf_counter()

    def call_after_loop(self, *, latents: mx.array, **_: Any) -> None:
        mx.eval(latents)
        self.seconds = time.perf_counter() - self._begun


@contextlib.contextmanager
def listening(model: Any, listener: Any) -> Iterator[None]:
    """Register a callback, last of all, with an mflux pipeline while the context lasts."""
    registry = model.callbacks
    registry.register(listener)
    try:
        yield
    finally:
        for callbacks in (registry.before_loop, registry.in_loop, registry.after_loop, registry.interrupt):
            if listener in callbacks:
                callbacks.remove(listener)
