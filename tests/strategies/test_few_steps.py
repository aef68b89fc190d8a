"""Every strategy, and nothing else, refuses models that are distilled to a few steps, and advises short runs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases_flux
import pytest
from scripted import DEV
from skipping import OPTIONS
from tiny_models import generate

from mflux_teacache import PluginWarning, Refused, Target, attach
from mflux_teacache.options import from_keywords
from mflux_teacache.pieces.few_steps import ENOUGH
from mflux_teacache.plugins import PluginSet, load

DISTILLED = Target(pipeline="Flux1", model="black-forest-labs/FLUX.1-schnell", distilled=True)
PATTERN = {"pattern": "CSCSCC"}


class Judge:
    """One instance of an installed plugin, and what it says of targets."""

    def __init__(self, name: str, **keywords: Any) -> None:
        self.name = name
        loaded = load(name)
        self.options = from_keywords(loaded, keywords)
        self.plugins = PluginSet([loaded])

    def check(self, target: Target) -> None:
        self.plugins.check(self.name, "mflux_check", options=self.options, target=target)

    def warnings(self, *targets: Target) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for target in targets:
                self.check(target)
        assert all(issubclass(each.category, PluginWarning) for each in caught)
        return [str(each.message) for each in caught]


def options_of(strategy: str, *, force: bool) -> dict[str, Any]:
    return {**OPTIONS[strategy], "force": force}


def of_steps(*actives: int | None, steps: int | None = None) -> Sequence[Target]:
    return [replace(DEV, steps=steps or active, active_steps=active) for active in actives]


@pytest.fixture
def sidecar(tmp_path: Path) -> Path:
    path = tmp_path / "run.json"
    entry = {"options": {}, "values": {"forecast": 0}}
    plugins = {"schema": 1, "pattern": PATTERN["pattern"], "decider": "mine", "residual_after": 0}
    path.write_text(json.dumps({"mflux_plugins": {**plugins, "plugins": {"mine": entry}}}))
    return path


@pytest.mark.parametrize("strategy", OPTIONS)
def test_a_distilled_model_is_refused_and_can_be_forced(strategy: str) -> None:
    with pytest.raises(
        Refused,
        match=rf"^{DISTILLED.model} is distilled to a few steps, which differ too much to be skipped: .* "
        rf"Use the base model .*; or --{strategy}-force to try it all the same\.$",
    ):
        Judge(strategy, **options_of(strategy, force=False)).check(DISTILLED)
    forced = Judge(strategy, **options_of(strategy, force=True))
    assert not [said for said in forced.warnings(replace(DISTILLED, steps=6, active_steps=6)) if "active steps" in said]


@pytest.mark.parametrize("strategy", OPTIONS)
def test_a_short_run_is_advised_once(strategy: str) -> None:
    judge = Judge(strategy, **options_of(strategy, force=False))
    assert judge.warnings(*of_steps(None, ENOUGH, 50)) == []
    assert judge.warnings(*of_steps(ENOUGH - 1, 8, 6)) == [
        "this run has 9 active steps; below 10, fewer steps are usually the better way to save time: use a lower "
        "--steps without plugins."
    ]


def test_image_to_image_is_told_of_its_active_steps() -> None:
    [said] = Judge("first-block-cache").warnings(*of_steps(6, steps=20))
    assert said.startswith("this run has 6 active steps; ")


def test_a_model_that_is_not_known_yet_may_be_a_distilled_one() -> None:
    judge = Judge("first-block-cache")
    target = Target(pipeline="Flux1", steps=4, active_steps=4)
    assert judge.warnings(target) == []
    assert len(judge.warnings(replace(target, model=DEV.model))) == 1


def test_a_run_that_is_refused_gets_no_advice() -> None:
    judge = Judge("taylorseer")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Refused, match="leaves nothing to skip"):
            judge.check(*of_steps(4))


@pytest.mark.parametrize("distilled", [False, True])
def test_whoever_names_each_step_is_told_nothing(distilled: bool, sidecar: Path) -> None:
    target = replace(DISTILLED, distilled=distilled, steps=6, active_steps=6)
    assert Judge("schedule", **PATTERN).warnings(target) == []
    assert Judge("replay", **{"from": sidecar}).warnings(target) == []


@pytest.mark.parametrize("recorder", ["teacache-record", "magcache-record"])
def test_recorders_run_on_any_model(recorder: str, tmp_path: Path) -> None:
    judge = Judge(recorder, output=tmp_path / "recorded.json")
    assert judge.warnings(replace(DISTILLED, steps=4, active_steps=4)) == []


def test_a_record_from_before_the_option_is_read() -> None:
    assert from_keywords(load("easycache"), {"thresh": 0.1}).force is False
    assert from_keywords(load("teacache"), {"force": True}).force is True


def test_the_ways_of_the_schedule_that_are_no_pattern_are_refused() -> None:
    for way in ({"every": 2}, {"ratio": 0.5}, {"speedup": 2}, {"max_computed": 3}):
        with pytest.raises(Refused, match="is distilled to a few steps"):
            Judge("schedule", **way).check(DISTILLED)


@pytest.mark.usefixtures("tiny")
def test_each_attachment_says_so_at_its_first_short_image(photo: Path) -> None:
    model, arguments = cases_flux.CASES["flux2-guidance"].make(photo)
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with attach(model, "first-block-cache"):
                assert caught == []
                for _ in range(2):
                    generate(model, num_inference_steps=4, **arguments)
        assert [str(each.message)[:27] for each in caught] == ["this run has 4 active steps"]


@pytest.mark.usefixtures("tiny")
def test_a_shadow_run_is_told_nothing_and_leaves_out_who_refuses(photo: Path) -> None:
    model, arguments = cases_flux.CASES["flux2-guidance"].make(photo)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with attach(model, "shadow", strategies="first-block-cache,easycache"):
            generate(model, num_inference_steps=6, **arguments)
    model, _ = cases_flux.CASES["flux2-distilled"].make(photo)
    with pytest.raises(Refused, match=r"none does\. sea: \S+ is distilled .* easycache: \S+ is distilled"):
        attach(model, "shadow", strategies="sea,easycache")
