"""A plugin that uses the hooks and nothing else, and says nothing of itself, works as it always did."""

from __future__ import annotations

import runpy
from pathlib import Path

import cases_flux
import pytest
from strategies import Pattern
from tiny_models import generate, same

from mflux_teacache import attach

EverySecond = runpy.run_path(str(Path(__file__).with_name("every_second_bare.py")))["EverySecond"]
EverySecond.__module__ = __name__


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("case", ["flux2-guidance", "flux1-kontext"])
def test_the_readme_s_plugin_of_before(case: str, photo: Path) -> None:
    model, arguments = cases_flux.CASES[case].make(photo)
    with attach(model, Pattern):
        expected = generate(model, num_inference_steps=5, **arguments)
    with attach(model, EverySecond) as handle:
        assert same(generate(model, num_inference_steps=5, **arguments), expected)
    image = handle.stats.last_generation
    assert image is not None
    assert image.pattern == "CSCSC"
