"""The clock, on a tiny FLUX.2."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from bench_runs import ARGUMENTS

from mflux_teacache.bench import timing as clocks
from mflux_teacache.bench.timing import PhaseClock
from mflux_teacache.demo.clock import listening


def callbacks(model: Any) -> list[Any]:
    registry = model.callbacks
    return [*registry.before_loop, *registry.in_loop, *registry.after_loop, *registry.interrupt]


def test_phases_and_steps_add_up(model: Any) -> None:
    clock = PhaseClock("test")
    with listening(model, clock):
        model.generate_image(**ARGUMENTS)
    decode = clock.measured()["decode"]
    assert callbacks(model) == []
    assert len(clock.step_seconds) == 5
    assert min(clock.step_seconds) > 0
    assert sum(clock.step_seconds) <= clock.loop.seconds
    assert clock.seconds == pytest.approx(clock.loop.seconds, rel=0.1)
    assert clock.finite
    for phase in (clock.encode, clock.loop, decode):
        assert phase.seconds > 0
        assert phase.peak_bytes >= phase.active_bytes > 0


def test_the_prompt_is_evaluated_before_the_loop(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """mflux hands FLUX.2's embeddings over unevaluated, in local variables."""
    evaluated: list[Any] = []
    at_the_lap: list[Any] = []

    def noting(*arrays: Any) -> None:
        evaluated.extend(arrays)

    lap = clocks.Stopwatch.lap
    monkeypatch.setattr(
        clocks.Stopwatch, "lap", lambda watch: at_the_lap.extend(evaluated) or evaluated.clear() or lap(watch)
    )
    found: list[Any] = []
    encoded: list[mx.array] = []
    encode = model._encode_prompt_pair
    monkeypatch.setattr(model, "_encode_prompt_pair", lambda **more: encoded.extend(made := encode(**more)) or made)
    monkeypatch.setattr(clocks.mx, "eval", noting)
    with listening(model, PhaseClock("test")):
        callback = SimpleNamespace(call_before_loop=lambda **_: found.extend(at_the_lap))
        with listening(model, callback):
            model.generate_image(**{**ARGUMENTS, "num_inference_steps": 2})
    assert len(encoded) == 4
    for array in encoded:
        assert any(array is other for other in found)


def test_arrays_are_found_in_containers_but_not_in_modules(model: Any) -> None:
    one, two, three = (mx.zeros(1) for _ in range(3))
    found = list(clocks._arrays({"a": [one, (two, "x")], "b": {"c": three}, "d": model}))
    assert [id(array) for array in found] == [id(one), id(two), id(three)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_noticed(value: float) -> None:
    clock = PhaseClock("test")
    clock.call_after_loop(latents=mx.array([1.0, value]))
    assert not clock.finite


def test_a_step_ends_when_its_latents_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, latents, waited = PhaseClock("test"), mx.zeros(1), []
    monkeypatch.setattr(clocks.mx, "eval", lambda *arrays: waited.append((*arrays, len(clock.step_seconds))))
    clock.call_in_loop(latents=latents)
    assert [(array is latents, steps) for array, steps in waited] == [(True, 0)]


def test_each_phase_has_a_peak_of_its_own() -> None:
    watch = clocks.Stopwatch()
    large = mx.zeros(1 << 22)
    mx.eval(large)
    first = watch.lap()
    del large
    small = mx.zeros(1)
    mx.eval(small)
    second = watch.lap()
    assert first.peak_bytes - first.active_bytes < 1 << 20
    assert first.peak_bytes - second.active_bytes >= 1 << 24
    mx.eval(mx.zeros(1))
    assert watch.lap().peak_bytes < first.peak_bytes - (1 << 23)
