"""Every supported pipeline through mflux's own loop: bit-identical when everything is computed, and restored."""

from __future__ import annotations

from pathlib import Path

import all_cases
import pytest
from installed import MFLUX
from mflux.utils.apple_silicon import AppleSiliconUtil
from strategies import (
    Observer,
    Pattern,
    PatternAfterFirstBlock,
    ProbedPattern,
    ProbedPatternAfterFirstBlock,
    ReadsEverything,
    ReadsEverythingAfterwards,
)
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import PIPELINES, in_installed_mflux

CASES = all_cases.cases_of()

# What Pattern comes to where the body's stream changes its length during the run: step 1 of guidance's first branch
# has no residual that fits and computes, so the step counts as computed although the second branch is reused.
FORCED = {"fibo2-text-images": "CPCSC"}


def test_every_supported_pipeline_of_the_installed_mflux_has_a_case() -> None:
    supported = {pipeline.name for pipeline in in_installed_mflux() if pipeline.level in ("full", "partial")}
    assert supported == {case.pipeline.__name__ for case in CASES.values()}


def test_a_current_mflux_has_every_pipeline_of_the_table() -> None:
    """So that no case can be absent there."""
    installed = {pipeline.name for pipeline in in_installed_mflux()}
    assert (installed >= PIPELINES.keys()) == (MFLUX >= (0, 24))


def test_what_is_said_of_compiling_is_so() -> None:
    compiled = {PIPELINES[case.pipeline.__name__].family for case in CASES.values() if case.compiled}
    by_themselves = {family.name for family in FAMILIES if family.compiles}
    installed = {PIPELINES[case.pipeline.__name__].family for case in CASES.values()}
    said = {family.name for family in FAMILIES if family.compiled}
    assert (compiled | by_themselves) & installed == said & installed


RUNS = [(name, False) for name in CASES] + [(name, True) for name in CASES if CASES[name].compiled]
# One that mflux runs as Python, and one that it compiles.
SAMPLES = [("flux1-dev", False), ("flux2-guidance", False)]
EAGER_TOO = pytest.mark.parametrize(
    ("name", "eager"),
    [pytest.param(*run, marks=pytest.mark.sample if run in SAMPLES else ()) for run in RUNS],
    indirect=["eager"],
)


@pytest.fixture
def eager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a small M1 or M2, where mflux compiles nothing."""
    if request.param:
        monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)


@pytest.mark.usefixtures("tiny")
@EAGER_TOO
def test_all_computed_is_bit_identical_and_so_is_restored(name: str, eager: None, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    plain = generate(model, **arguments)
    smaller = {
        **arguments,
        **dict(zip(("height", "width"), CASES[name].smaller, strict=True)),
        "num_inference_steps": 4,
    }
    plain_small = generate(model, **smaller)
    for plugin in (Observer, ReadsEverything, ReadsEverythingAfterwards):
        with attach(model, plugin) as handle:
            assert same(generate(model, **arguments), plain)
            assert same(generate(model, **smaller), plain_small)
            assert set(handle.stats.history[0].pattern) == {"C"}
    assert same(generate(model, **arguments), plain)


@pytest.mark.usefixtures("tiny")
@EAGER_TOO
def test_skipping_changes_the_image_and_is_the_same_probed_or_not(name: str, eager: None, photo: Path) -> None:
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
