"""The variants, on a tiny FLUX.2, and what cannot be measured."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from bench_runs import ARGUMENTS, parsed
from mflux.utils.apple_silicon import AppleSiliconUtil

from mflux_teacache.bench import speed, turns, variants
from mflux_teacache.bench.settings import SpeedSettings
from mflux_teacache.bench.timing import timed
from mflux_teacache.bench.variants import Variant, compared_by_speed
from mflux_teacache.errors import Refused


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
    def attaching(model: Any, requests: Any, report: Any, *, compile_blocks: bool) -> Iterator[None]:
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


def test_what_auto_has_chosen_is_told(model: Any) -> None:
    *_, variant = compared_by_speed(SpeedSettings(steps=5, plugin="auto"))
    told = timed(model, variant, ARGUMENTS, 0, "test").told
    assert told is not None
    assert told.endswith("a rule, not measured on this model")


def test_a_run_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Variant("a", lambda _: None).name = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plugin", "teacache", "--random-weights", "fibo"], "no calibration"),
        (["--plugin", "teacache", "--steps", "2"], "TeaCache always computes"),
        (["--plugin", "teacache", "--model", "schnell"], "schnell is distilled to a few steps"),
        (["--compile-blocks"], "--compile-blocks changes nothing for the demo's tiny FLUX.2, float32: mflux compiles"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_model_loads(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: False)
    monkeypatch.setattr(turns, "measured", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(Refused, match=message):
        speed.run(parsed(*words))


@pytest.mark.parametrize("words", [["--compile-blocks", "--random-weights", "flux1-dev"], ["--compile-blocks"]])
def test_blocks_are_compiled_where_mflux_runs_as_python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as everywhere on the smaller M1 and M2."""
    monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)

    class Measuring(Exception):
        pass

    def measure(*_: Any) -> None:
        raise Measuring

    monkeypatch.setattr(turns, "measured", measure)
    with pytest.raises(Measuring):
        speed.run(parsed(*words))


def test_a_package_to_compare_with_is_judged_before_the_model_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    from mflux_teacache.bench.laboratory import peers

    def check(config: Any, pipeline: type) -> None:
        raise Refused(f"not {pipeline.__name__}")

    monkeypatch.setattr(peers, "check", check)
    monkeypatch.setattr(turns, "measured", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(Refused, match="not DemoKlein"):
        speed.run(parsed("--compare", "mlx-teacache"))
