"""The clock, the strategy that follows a pattern, and the variants, on a tiny FLUX.2."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any

import mlx.core as mx
import pytest
import tiny_models

from mflux_teacache import attach
from mflux_teacache.bench import clock as clocks
from mflux_teacache.bench import measure
from mflux_teacache.bench.clock import PhaseClock
from mflux_teacache.bench.follow import FollowPattern
from mflux_teacache.bench.settings import Settings
from mflux_teacache.bench.variants import Variant, variants_of
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
    decode = clock.decoded()
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

    def noting(*arrays: Any) -> None:
        evaluated.extend(arrays)

    encoded: list[mx.array] = []
    encode = model._encode_prompt_pair
    monkeypatch.setattr(model, "_encode_prompt_pair", lambda **more: encoded.extend(made := encode(**more)) or made)
    monkeypatch.setattr(clocks.mx, "eval", noting)
    with listening(model, PhaseClock("test")):
        model.generate_image(**{**ARGUMENTS, "num_inference_steps": 2})
    assert len(encoded) == 4
    for array in encoded:
        assert any(array is other for other in evaluated)


def test_arrays_are_found_in_containers_but_not_in_modules(model: Any) -> None:
    one, two, three = (mx.zeros(1) for _ in range(3))
    found = list(clocks._arrays({"a": [one, (two, "x")], "b": {"c": three}, "d": model}))
    assert [id(array) for array in found] == [id(one), id(two), id(three)]


def test_infinity_is_noticed(model: Any) -> None:
    clock = PhaseClock("test")
    clock.call_after_loop(latents=mx.array([1.0, float("nan")]))
    assert not clock.finite


def test_variants_of_a_pattern(model: Any) -> None:
    variants = variants_of(Settings(steps=5, pattern="CSSCS"))
    assert [variant.name for variant in variants] == ["plain", "all computed", "skipping"]
    before = vars(model).copy()
    runs = [measure.run_once(model, variant, ARGUMENTS, 0, "test") for variant in variants]
    assert [run.pattern for run in runs] == ["CCCCC", "CCCCC", "CSSCS"]
    assert vars(model) == before
    assert type(model.transformer).__name__ == "Flux2Transformer"


def test_variants_with_nothing_to_skip_and_of_a_plugin() -> None:
    def names(**settings: Any) -> list[str]:
        return [variant.name for variant in variants_of(Settings(steps=3, **settings))]

    assert names(pattern="CCC") == ["plain", "all computed"]
    assert names(plugin="first-block-cache") == ["plain", "all computed", "first-block-cache"]


def test_a_plugin_decides_with_its_options(model: Any) -> None:
    def pattern(thresh: str) -> str:
        settings = Settings(steps=5, plugin="first-block-cache", plugin_options={"thresh": thresh})
        *_, variant = variants_of(settings)
        return measure.run_once(model, variant, ARGUMENTS, 0, "test").pattern

    assert pattern("0") == "CCCCC"
    assert pattern("1000") == "CSSSS"


def test_variants_take_turns_after_the_warm_up(model: Any) -> None:
    attached: list[str] = []

    def noting(variant: Variant) -> Variant:
        def attach(model: Any) -> Any:
            attached.append(variant.name)
            return variant.attach(model)

        return Variant(variant.name, attach)

    settings = Settings(steps=2, pattern="CS", repetitions=2, warm_up=1)
    variants = [noting(variant) for variant in variants_of(settings)]
    names = [variant.name for variant in variants]
    reported = []
    measured = measure.interleaved(subject(model), variants, settings, reported.append)
    assert attached == names * 3
    assert [(run.repetition, run.variant) for run in measured.runs] == [(n, name) for n in range(2) for name in names]
    assert tuple(reported) == measured.runs
    assert len(measured.loads) == 1


def subject(model: Any) -> Any:
    import contextlib

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
