"""mflux can reuse steps of Qwen-Image 2.1 itself, by options of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from installed import MFLUX
from qwen21 import CASES
from recording import Watch
from strategies import Pattern, kept
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.adapters.pipelines import PIPELINES, refuse_partly
from mflux_teacache.errors import UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")

HAS_STEP_REUSE = pytest.mark.skipif(MFLUX < (0, 21), reason="this mflux does not reuse steps of Qwen-Image 2.1 itself")


@HAS_STEP_REUSE
@pytest.mark.parametrize("option", ["step_cache_ratio", "teacache_ratio"])
def test_a_deciding_plugin_refuses_mflux_s_own_step_reuse(option: str, photo: Path) -> None:
    model, arguments = CASES["qwen21-guidance"].make(photo)
    message = f"which would reuse what it reused: {option}=0.25 asks for it. Turn it off"
    with attach(model, Pattern) as handle:
        with pytest.raises(UnsupportedModel, match=message):
            generate(model, **{option: 0.25}, **arguments)
        generate(model, **arguments)
    assert handle.stats.generations == 1


@HAS_STEP_REUSE
def test_an_observer_sees_the_steps_that_mflux_s_own_step_reuse_leaves(photo: Path) -> None:
    model, arguments = CASES["qwen21-guidance"].make(photo)
    arguments |= {"step_cache_ratio": 0.3, "num_inference_steps": 10}
    plain = generate(model, **arguments)
    plugin, made = kept(Watch)
    with attach(model, plugin) as handle:
        assert same(generate(model, **arguments), plain)
    assert handle.stats.history[0].pattern == "C" * 7
    assert [step.index for step in made[0].steps][::6] == [0, 9]  # mflux computes the first and the last steps


def test_step_reuse_is_refused_before_there_is_a_model() -> None:
    for name, option in (("QwenImage21", "step_cache_ratio"), ("QwenImage21Edit", "use_step_cache")):
        with pytest.raises(UnsupportedModel, match=f"plugins run on the pipeline {name}, but no"):
            refuse_partly(PIPELINES[name], {option: 0.5}, deciding=True)
        refuse_partly(PIPELINES[name], {option: None}, deciding=True)
