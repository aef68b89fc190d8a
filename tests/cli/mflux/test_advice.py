"""What the line after an image advises helps: it is taken here, and steps are skipped."""

from __future__ import annotations

import re
from typing import Any

import pytest
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.flux.variants.txt2img.flux import Flux1

from mflux_teacache.attachment import Request
from mflux_teacache.cli.mflux.session import Chosen, Session
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import load

pytestmark = pytest.mark.usefixtures("tiny")

STEPS = 8
CONSTANT = {"coefficients": "0.3"}  # every change is predicted to be 0.3

CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "a threshold": ("teacache", {**CONSTANT, "thresh": 0.25}, "try --teacache-thresh 0.35"),
    "a threshold of 0": ("teacache", {"coefficients": "0", "thresh": 0}, "try --teacache-thresh above 0"),
    "next to nothing": ("teacache", {"coefficients": "5e-324", "thresh": 0}, "try --teacache-thresh 9.88131e-324"),
    "a forbidden skip": ("teacache", {**CONSTANT, "thresh": 0.5, "max_skips": 0}, "leave out --teacache-max-skips 0"),
    "both": (
        "teacache",
        {**CONSTANT, "thresh": 0.25, "max_skips": 0},
        "leave out --teacache-max-skips 0, and try --teacache-thresh 0.35",
    ),
    "a budget": (
        "teacache",
        {**CONSTANT, "max_computed": STEPS},
        f"ask for fewer computed steps than --teacache-max-computed {STEPS} gives",
    ),
    "a budget by speed": (
        "teacache",
        {**CONSTANT, "speedup": 1},
        "ask for fewer computed steps than --teacache-speedup 1.0 gives",
    ),
    "a budget and a forbidden skip": (
        "teacache",
        {**CONSTANT, "max_computed": STEPS, "max_skips": 0},
        "leave out --teacache-max-skips 0, and ask for fewer computed steps than --teacache-max-computed 8 gives",
    ),
    "the first block": ("first-block-cache", {"thresh": 1e-9}, "try --first-block-cache-thresh "),
    "the first block, forbidden": (
        "first-block-cache",
        {"thresh": 9, "max_skips": 0},
        "leave out --first-block-cache-max-skips 0",
    ),
    "learned": ("easycache", {"thresh": 1e-9}, "try --easycache-thresh "),
    "a table": ("magcache", {"thresh": 0, "table": "flux1-dev"}, "try --magcache-thresh above 0"),
    "a table, forbidden": (
        "magcache",
        {"thresh": 0, "table": "flux1-dev", "max_skips": 0},
        "leave out --magcache-max-skips 0, and try --magcache-thresh above 0",
    ),
}


def told(plugin: str, keywords: dict[str, Any], capsys: Any, config: Any = None) -> str:
    """The line after an image."""
    loaded = load(plugin)
    session = Session("mflux-generate", Chosen([Request(loaded, from_keywords(loaded, keywords))]))
    session.check(Flux1, {"model_config": config or ModelConfig.dev()})
    model = tiny_models.flux1()
    session.attach(model)
    capsys.readouterr()
    model.generate_image(seed=1, prompt="x", num_inference_steps=STEPS, height=32, width=32)
    return capsys.readouterr().out.strip()


def taken(keywords: dict[str, Any], plugin: str, advice: str) -> dict[str, Any]:
    """Options as advised."""
    options = dict(keywords)
    for left_out in re.findall(rf"leave out --{plugin}-(\S+) ", f"{advice} "):
        del options[left_out.replace("-", "_")]
    for name, value in re.findall(rf"try --{plugin}-(\S+) (above 0|\S+)", advice):
        options[name] = value.replace("above 0", "1e-9")
    if "fewer computed steps" in advice:
        budget = "speedup" if "speedup" in options else "max_computed"
        options[budget] = {"speedup": 1.2, "max_computed": STEPS - 1}[budget]
    return options


@pytest.mark.filterwarnings("ignore:--teacache-thresh .* will skip nothing")
@pytest.mark.parametrize("case", CASES)
def test_what_is_advised_helps(case: str, capsys: Any) -> None:
    plugin, keywords, expected = CASES[case]
    line = told(plugin, keywords, capsys)
    assert f"{plugin}: computed {STEPS} of {STEPS} steps, skipped none (" in line
    advice = line.partition("; ")[2]
    assert advice.startswith(expected)
    assert "skipped none" not in told(plugin, taken(keywords, plugin, advice), capsys)


def test_a_few_step_model_is_no_reason_to_raise_the_threshold(capsys: Any) -> None:
    line = told("first-block-cache", {"thresh": 1e-9, "force": True}, capsys, ModelConfig.schnell())
    assert line.endswith("; the model is distilled to a few steps, which differ too much to be skipped")
