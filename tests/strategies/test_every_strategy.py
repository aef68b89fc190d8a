"""Every strategy on every family, through mflux's own pipelines with tiny random weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import all_cases
import mlx.core as mx
import pytest
from skipping import OPTIONS, STEPS
from strategies import Pattern
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.adapters.pipelines import PIPELINES, in_installed_mflux
from mflux_teacache.plugins import load
from mflux_teacache.strategies.magcache import table as tables

# One case per family; where it has guidance, with two branches.
NAMES = (
    "anima-guidance",
    "boogu",
    "ernie-guidance",
    "fibo-guidance",
    "fibo2-guidance",
    "flux1-kontext",
    "flux2-guidance",
    "flux3-base",
    "ideogram4",
    "iris-base",
    "krea2-turbo",  # there is no other one on mflux 0.18
    "krea2-guidance",
    "lens",
    "ming-guidance",
    "moss-guidance",
    "qwen",
    "qwen21-guidance",
    "qwen21-edit-guidance",
    "z-image-guidance",
)
CASES = {name: case for name, case in all_cases.cases_of().items() if name in NAMES}


def test_every_family_has_a_case() -> None:
    supported = {pipeline.family for pipeline in in_installed_mflux() if pipeline.level in ("full", "partial")}
    assert {PIPELINES[case.pipeline.__name__].family for case in CASES.values()} == supported


@pytest.fixture(scope="module")
def models(photo: Path) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Made at their first use: attaching leaves no trace, so one model serves every strategy."""
    return {}


@pytest.mark.usefixtures("tiny")
@pytest.mark.filterwarnings("ignore::mflux_teacache.PluginWarning")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("strategy", OPTIONS)
def test_a_strategy_runs_on_a_family(strategy: str, case: str, photo: Path, models: dict[str, Any]) -> None:
    if case not in models:
        models[case] = CASES[case].make(photo)
    model, arguments = models[case]
    with attach(model, strategy, **OPTIONS[strategy]) as handle:
        latents = generate(model, num_inference_steps=STEPS, **arguments)
    image = handle.stats.last_generation
    assert image is not None
    assert image.pattern.startswith("CC")
    assert image.skipped_count > 0
    assert math.isfinite(mx.abs(latents).max().item())


@pytest.mark.usefixtures("tiny")
@pytest.mark.filterwarnings("ignore::mflux_teacache.PluginWarning")
@pytest.mark.parametrize("case", ["flux1-kontext", "flux2-guidance", "z-image-guidance"])
@pytest.mark.parametrize("strategy", OPTIONS)
def test_a_strategy_reuses_outputs(strategy: str, case: str, photo: Path, models: dict[str, Any]) -> None:
    """It decides alike as long as what it skips is the same, and what it reuses is something else."""
    if case not in models:
        models[case] = CASES[case].make(photo)
    model, arguments = models[case]
    latents = {}
    for reuse in ("body", "output"):
        with attach(model, strategy, **{**OPTIONS[strategy], "reuse": reuse}) as handle:
            latents[reuse] = generate(model, num_inference_steps=STEPS, **arguments)
        image = handle.stats.last_generation
        assert image is not None
        assert image.skipped_count > 0
    assert math.isfinite(mx.abs(latents["output"]).max().item())
    assert not same(latents["output"], latents["body"])


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("case", CASES)
def test_a_whole_run_of_a_family_makes_a_table(case: str, photo: Path, models: dict[str, Any], tmp_path: Path) -> None:
    """Also where the schedule ends with a step that calls no transformer: such a run is not an image-to-image one."""
    if case not in models:
        models[case] = CASES[case].make(photo)
    model, arguments = models[case]
    with attach(model, "magcache-record", output=str(tmp_path / "table.json")) as handle:
        generate(model, num_inference_steps=STEPS, **arguments)
    assert len(handle.stats.history[0].decisions) == len(tables.load(str(tmp_path / "table.json")).ratios)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("case", ["flux2-guidance", "flux1-kontext", "z-image-guidance"])
def test_a_schedule_is_what_a_plugin_of_a_few_lines_does(case: str, photo: Path) -> None:
    model, arguments = CASES[case].make(photo)
    with attach(model, Pattern):
        expected = generate(model, num_inference_steps=STEPS, **arguments)
    with attach(model, "schedule", pattern=Pattern.pattern[:STEPS], reuse="body") as handle:
        assert same(generate(model, num_inference_steps=STEPS, **arguments), expected)
    with attach(model, "schedule", pattern=Pattern.pattern[:STEPS], reuse="body", forecast=1):
        assert not same(generate(model, num_inference_steps=STEPS, **arguments), expected)
    assert handle.stats.skipped_count == 2


def test_every_built_in_strategy_takes_part() -> None:
    for strategy in OPTIONS:
        assert load(strategy).package == "mflux-teacache-plugin"
