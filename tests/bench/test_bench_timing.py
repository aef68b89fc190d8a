"""The clock, the strategy that follows a pattern, and the variants, on a tiny FLUX.2."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
import tiny_models
from mflux.utils.exceptions import StopImageGenerationException

from mflux_teacache import attach
from mflux_teacache.bench import timing as clocks
from mflux_teacache.bench import turns, variants
from mflux_teacache.bench.follow import FollowPattern
from mflux_teacache.bench.runs import whole
from mflux_teacache.bench.settings import SpeedSettings
from mflux_teacache.bench.timing import PhaseClock, timed
from mflux_teacache.bench.variants import Variant, compared_by_speed
from mflux_teacache.demo.clock import listening

ARGUMENTS = {"seed": 1, "prompt": "x", "num_inference_steps": 5, "height": 32, "width": 32, "guidance": 4.0}


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    with tiny_models.float32():
        yield tiny_models.flux2()


def callbacks(model: Any) -> list[Any]:
    registry = model.callbacks
    return [*registry.before_loop, *registry.in_loop, *registry.after_loop, *registry.interrupt]


def test_a_pattern_is_followed_with_the_signal_read_in_every_step(model: Any) -> None:
    with attach(model, partial(FollowPattern, "CSSCS")) as handle:
        model.generate_image(**ARGUMENTS)
        model.generate_image(**ARGUMENTS)
    for image in handle.stats.history:
        assert image.pattern == "CSSCS"
        assert image.decisions[0].change is None
        assert all(record.change is not None and record.change > 0 for record in image.decisions[1:])


def test_phases_and_steps_add_up(model: Any) -> None:
    clock = PhaseClock("test")
    with listening(model, clock):
        model.generate_image(**ARGUMENTS)
    decode = clock.measured()["decode"]
    assert callbacks(model) == []
    assert clock.loop is not None
    assert clock.encode is not None
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


def test_variants_of_a_pattern(model: Any) -> None:
    made = compared_by_speed(SpeedSettings(steps=5, pattern="CSSCS"))
    assert [variant.name for variant in made] == ["plain", "all computed", "skipping"]
    before = vars(model).copy()
    runs = [timed(model, variant, ARGUMENTS, 0, "test") for variant in made]
    assert [run.pattern for run in runs] == ["CCCCC", "CCCCC", "CSSCS"]
    assert vars(model) == before
    assert type(model.transformer).__name__ == "Flux2Transformer"


def test_variants_with_nothing_to_skip_and_of_a_plugin() -> None:
    def names(**settings: Any) -> list[str]:
        return [variant.name for variant in compared_by_speed(SpeedSettings(steps=3, **settings))]

    assert names(pattern="CCC") == ["plain", "all computed"]
    assert names(plugin="first-block-cache") == ["plain", "all computed", "first-block-cache"]
    assert names(pattern="CSC", compare="mlx-teacache") == ["plain", "all computed", "skipping", "mlx-teacache"]


def test_blocks_are_compiled_in_the_variants_that_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[bool] = []

    @contextlib.contextmanager
    def attaching(model: Any, requests: Any, *, compile_blocks: bool) -> Iterator[None]:
        compiled.append(compile_blocks)
        yield

    monkeypatch.setattr(variants, "attach_requests", attaching)
    plain, *others = compared_by_speed(SpeedSettings(steps=3, pattern="CSC", compile_blocks=True))
    names = ["all computed", "skipping"]
    assert [variant.name for variant in others] == [*names, *(f"{name}, blocks compiled" for name in names)]
    for variant in (plain, *others):
        with variant.attach(None):
            pass
    assert compiled == [False, False, True, True]


def test_a_plugin_decides_with_its_options(model: Any) -> None:
    def pattern(thresh: str) -> str:
        settings = SpeedSettings(steps=5, plugin="first-block-cache", plugin_options={"thresh": thresh})
        *_, variant = compared_by_speed(settings)
        return timed(model, variant, ARGUMENTS, 0, "test").pattern

    assert pattern("0") == "CCCCC"
    assert pattern("1000") == "CSSSS"


def test_variants_take_turns_after_the_warm_up(model: Any) -> None:
    attached: list[str] = []

    def noting(variant: Variant) -> Variant:
        def attach(model: Any) -> Any:
            attached.append(variant.name)
            return variant.attach(model)

        return Variant(variant.name, attach)

    settings = SpeedSettings(steps=2, pattern="CS", repetitions=2, warm_up=2)
    made = [noting(variant) for variant in compared_by_speed(settings)]
    names = [variant.name for variant in made]
    reported = []
    measured = turns.interleaved(subject(model), made, settings, reported.append)
    assert attached == names * (2 + 2)
    assert [(run.repetition, run.variant) for run in measured.runs] == [(n, name) for n in range(2) for name in names]
    assert tuple(reported) == measured.runs
    assert len(measured.loads) == 1
    assert [run.variant for run in measured.first_images] == names
    assert turns.interleaved(subject(model), made[:1], replace(settings, warm_up=0), print).first_images == ()


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopImageGenerationException])
def test_ctrl_c_keeps_the_whole_repetitions(error: type[BaseException]) -> None:
    names = ("plain", "all computed", "skipping")

    def runs(images: int) -> tuple[list[Any], bool]:
        made: list[Any] = []
        reported: list[Any] = []

        def run(variant: Any, repetition: int) -> Any:
            if len(made) == images:
                raise error
            made.append((repetition, variant))
            return made[-1]

        done = whole(turns._repetitions(run, names, 3, "image", reported.append))  # type: ignore[arg-type]
        assert reported == made
        return done

    turn = [(repetition, name) for repetition in range(3) for name in names]
    assert runs(8) == (tuple(turn[:6]), True)
    assert runs(9) == (tuple(turn), False)
    with pytest.raises(error):
        runs(2)


def test_another_error_keeps_nothing() -> None:
    def made() -> Iterator[Any]:
        yield from ([1, 2], [3, 4])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        whole(made())


def subject(model: Any) -> Any:
    from mflux_teacache.bench.subjects import Subject

    return Subject(
        name="tiny",
        pipeline=type(model),
        config=model.model_config,
        load=lambda: contextlib.nullcontext(model),
        arguments={**ARGUMENTS, "num_inference_steps": 2},
    )


def test_a_run_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Variant("a", lambda _: None).name = "b"  # type: ignore[misc]
