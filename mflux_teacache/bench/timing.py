"""How an image is timed: phase by phase and step by step, with MLX's memory."""

from __future__ import annotations

import sys
import time
from types import FrameType
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from mflux_teacache.bench.runs import Phase, TimedRun
from mflux_teacache.bench.variants import Variant
from mflux_teacache.demo.clock import LoopClock, listening


def timed(model: Any, variant: Variant, arguments: dict[str, Any], repetition: int, label: str) -> TimedRun:
    """One image.

    Args:
        arguments: of ``generate_image``.
        label: of the progress bar.
    """
    with variant.attach(model) as last_image:
        clock = PhaseClock(label)
        with listening(model, clock):
            model.generate_image(**arguments)
        measured = clock.measured()
        return TimedRun(variant=variant.name, repetition=repetition, **last_image()._asdict(), **measured)


class Stopwatch:
    """Measures one phase after the other."""

    def __init__(self) -> None:
        mx.reset_peak_memory()
        self._begun = time.perf_counter()

    def lap(self) -> Phase:
        """The phase that ends here, and the next one begins. Arrays that it made must have been evaluated."""
        phase = Phase(
            seconds=time.perf_counter() - self._begun,
            peak_bytes=mx.get_peak_memory(),
            active_bytes=mx.get_active_memory(),
        )
        mx.reset_peak_memory()
        self._begun = time.perf_counter()
        return phase


class PhaseClock(LoopClock):
    """A callback of mflux, the same with and without plugins; make it right before ``generate_image``.

    Every loop of mflux waits for its new latents once per step, right after the callbacks. To time the steps
    this callback waits for them itself, last of the callbacks: mflux's own wait then finds them ready. So step
    times and loop times come from the same runs, and no run waits more often than without a clock.
    """

    encode: Phase
    loop: Phase

    def __init__(self, label: str) -> None:
        super().__init__(label, keep_bar=False)
        self.step_seconds: list[float] = []
        self.finite = True
        self._last = 0.0
        self._watch = Stopwatch()

    def call_before_loop(self, **arguments: Any) -> None:
        # FLUX.2, Z-Image and FIBO encode their prompt lazily, inside the first step: it must not count as denoising.
        mx.eval(*_arrays_of_pipeline(sys._getframe(1)))
        super().call_before_loop(**arguments)
        self.encode = self._watch.lap()
        self._last = time.perf_counter()

    def call_in_loop(self, *, latents: mx.array, **_: Any) -> None:
        mx.eval(latents)
        now = time.perf_counter()
        self.step_seconds.append(now - self._last)
        self._last = now

    def call_after_loop(self, *, latents: mx.array, **more: Any) -> None:
        super().call_after_loop(latents=latents, **more)
        self.loop = self._watch.lap()
        self.finite = bool(mx.isfinite(latents).all().item())
        self._watch = Stopwatch()

    def measured(self) -> dict[str, Any]:
        """Fields of ``TimedRun``; to be called right after ``generate_image``, whose last phase ends here."""
        phases = {"decode": self._watch.lap(), "encode": self.encode, "loop": self.loop}
        return {**phases, "step_seconds": tuple(self.step_seconds), "finite": self.finite}


def _arrays_of_pipeline(frame: FrameType | None) -> list[mx.array]:
    """What the variables of mflux's functions hold that are calling the callback.

    Where a family keeps its prompt's embeddings, and under which name, differs; that they are local variables
    of the function with the loop does not.
    """
    arrays: list[mx.array] = []
    while frame is not None and frame.f_globals.get("__name__", "").startswith("mflux."):
        arrays += _arrays(frame.f_locals)
        frame = frame.f_back
    return arrays


def _arrays(value: Any) -> list[mx.array]:
    """Those in containers, but not in modules: evaluating weights that are not used would cost memory."""
    leaves = tree_flatten(value, is_leaf=lambda inner: isinstance(inner, nn.Module))
    return [leaf for _, leaf in leaves if isinstance(leaf, mx.array)]
