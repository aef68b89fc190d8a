"""What is recorded of a full run of a tiny model."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import pytest
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.bench.runs import Setting
from mflux_teacache.handle import attach_requests
from mflux_teacache.plugins import Loaded, Request
from mflux_teacache.tune.candidates import by_budget
from mflux_teacache.tune.recorded import Recorded, from_json
from mflux_teacache.tune.recorder import Recorder
from mflux_teacache.tune.segments import Segments

STEPS = 10
ARGUMENTS = {"num_inference_steps": STEPS, "guidance": 2.5, "height": 32, "width": 32}
SETTINGS = [*by_budget([6, 4]), Setting("easycache", {"max_computed": 2})]


class Run:
    def __init__(self, model: Any) -> None:
        self.recorder = Recorder(SETTINGS)
        request = Request(Loaded("tune", lambda: self.recorder), argparse.Namespace())
        with attach_requests(model, [request]):
            self.latents = generate(model, **ARGUMENTS)

    @property
    def recorded(self) -> Recorded:
        assert self.recorder.recorded is not None
        return self.recorder.recorded


@pytest.fixture(scope="module")
def run(tiny_demo: Any) -> Run:
    return Run(tiny_demo)


def test_the_image_is_that_of_a_run_without_plugins(run: Run, tiny_demo: Any) -> None:
    assert same(run.latents, generate(tiny_demo, **ARGUMENTS))


def test_it_goes_through_json(run: Run) -> None:
    assert from_json(json.loads(json.dumps(run.recorded.as_json()))) == run.recorded


def test_strategies_have_patterns_and_others_a_reason(run: Run) -> None:
    found = run.recorded
    assert {pattern.count("C") for pattern in found.patterns.values()} == {6, 4}
    assert all(len(pattern) == STEPS for pattern in found.patterns.values())
    assert {name.split()[0] for name in found.patterns} == {
        "schedule",
        "teacache",
        "first-block-cache",
        "easycache",
        "magcache",
        "sea",
    }
    assert "cannot get by with 2 steps" in found.left_out["easycache max_computed=2"]
    assert {*found.patterns, *found.left_out} == set(map(str, SETTINGS))


def test_a_plan_s_error_is_what_the_latents_are_off(run: Run, tiny_demo: Any) -> None:
    """With the last steps skipped, nothing comes after them that could make it more or less."""
    pattern = "C" * (STEPS - 2) + "SS"
    with attach(tiny_demo, "schedule", pattern=pattern, reuse="output", forecast=0):
        off = np.array(generate(tiny_demo, **ARGUMENTS) - run.latents)
    sigmas = [*(run.recorded.sigmas or ()), 0.0]
    told = Segments([run.recorded], 0).of(tuple(range(STEPS - 2))) ** 0.5
    scale = np.trace(run.recorded.products) * np.abs(np.diff(sigmas)).mean() ** 2
    # The second step starts from what the first has left, which the recorded runs do not know.
    assert float((off * off).sum()) == pytest.approx(told * scale, rel=0.05)


def test_nothing_is_kept_of_an_image_that_is_over(run: Run) -> None:
    image = vars(run.recorder)["_image"]
    assert not image.latents
    assert not image.observed.now
