"""Every supported pipeline through mflux's own loop: bit-identical when everything is computed, and restored."""

from __future__ import annotations

from pathlib import Path

import cases_anima
import cases_ernie
import cases_fibo
import cases_fibo2
import cases_flux
import cases_flux3
import cases_ideogram4
import cases_iris
import cases_krea2
import cases_lens_boogu
import cases_ming
import cases_moss
import cases_qwen
import cases_qwen21
import cases_z_image
import pytest
from mflux.utils.apple_silicon import AppleSiliconUtil
from strategies import (
    Observer,
    Pattern,
    PatternAfterFirstBlock,
    ProbedPattern,
    ProbedPatternAfterFirstBlock,
    ReadsEverything,
)
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.adapters.pipelines import PIPELINES

CASES = {
    **cases_anima.CASES,
    **cases_ernie.CASES,
    **cases_fibo.CASES,
    **cases_fibo2.CASES,
    **cases_flux.CASES,
    **cases_flux3.CASES,
    **cases_ideogram4.CASES,
    **cases_iris.CASES,
    **cases_krea2.CASES,
    **cases_lens_boogu.CASES,
    **cases_ming.CASES,
    **cases_moss.CASES,
    **cases_qwen.CASES,
    **cases_qwen21.CASES,
    **cases_z_image.CASES,
}

# What Pattern comes to where the body's stream changes its length during the run: step 1 of guidance's first branch
# has no residual that fits and computes, so the step counts as computed although the second branch is reused.
FORCED = {"fibo2-text-images": "CCCSC"}


def test_every_supported_pipeline_has_a_case() -> None:
    supported = {pipeline.name for pipeline in PIPELINES.values() if pipeline.level in ("full", "partial")}
    assert supported == {case.pipeline.__name__ for case in CASES.values()}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("name", "eager"), [(name, False) for name in CASES] + [(name, True) for name in CASES if CASES[name].compiled]
)
def test_all_computed_is_bit_identical_and_so_is_restored(
    name: str, eager: bool, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if eager:
        monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)
    model, arguments = CASES[name].make(photo)
    plain = generate(model, **arguments)
    smaller = {
        **arguments,
        **dict(zip(("height", "width"), CASES[name].smaller, strict=True)),
        "num_inference_steps": 4,
    }
    plain_small = generate(model, **smaller)
    for plugin in (Observer, ReadsEverything):
        with attach(model, plugin) as handle:
            assert same(generate(model, **arguments), plain)
            assert same(generate(model, **smaller), plain_small)
            assert set(handle.stats.history[0].pattern) == {"C"}
    assert same(generate(model, **arguments), plain)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", CASES)
def test_skipping_changes_the_image_and_is_the_same_probed_or_not(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    plain = generate(model, **arguments)
    for unprobed, probed in ((Pattern, ProbedPattern), (PatternAfterFirstBlock, ProbedPatternAfterFirstBlock)):
        with attach(model, unprobed) as handle:
            skipped = generate(model, **arguments)
        expected = FORCED.get(name, Pattern.pattern[: handle.stats.history[0].num_steps])
        assert handle.stats.history[0].pattern == expected
        assert not same(skipped, plain)
        with attach(model, probed):
            assert same(generate(model, **arguments), skipped)
