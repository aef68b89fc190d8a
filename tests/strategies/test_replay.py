"""The recorded pattern, followed again: the very latents of the image that recorded it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from all_cases import cases_of
from tiny_models import generate, same

from mflux_teacache import Refused, attach
from mflux_teacache.errors import OptionError

NAMES = (
    "flux2-guidance",  # compiled, two branches
    "flux1-kontext",  # rows of a reference image
    "moss-guidance",  # branches of different lengths
)
CASES = {name: case for name, case in cases_of("cases_flux", "cases_moss").items() if name in NAMES}

# Each skips some of six steps; the forecasts differ, and so do the blocks that run in every step.
STRATEGIES: list[tuple[str, dict[str, Any]]] = [
    ("teacache", {"coefficients": (0.3,), "thresh": 0.5, "force": True, "forecast": 1}),
    ("first-block-cache", {"thresh": 9.0, "max_skips": 2, "forecast": 2, "cache_dtype": "bfloat16"}),
    ("taylorseer", {"skip_first": 2}),
    ("taylorseer", {"skip_first": 2, "reuse": "output"}),
    ("easycache", {"thresh": 1e9, "skip_first": 2, "max_skips": 1}),
]
STEPS = 6


def run(model: Any, arguments: dict[str, Any], folder: Path) -> tuple[Any, Path]:
    """The latents of one image, and its metadata as a sidecar."""
    images: list[Any] = []
    generate_image = model.generate_image
    model.generate_image = lambda **given: images.append(generate_image(**given))
    try:
        latents = generate(model, num_inference_steps=STEPS, **arguments)
    finally:
        model.generate_image = generate_image
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps({"mflux_plugins": images[0]._get_metadata()["mflux_plugins"]}))
    return latents, path


@pytest.mark.usefixtures("tiny")
@pytest.mark.filterwarnings("ignore::mflux_teacache.PluginWarning")
@pytest.mark.parametrize("case", CASES)
def test_latents_are_bit_for_bit_those_of_the_recorded_image(case, photo, tmp_path):
    model, arguments = CASES[case].make(photo)
    seen = set()
    for name, options in STRATEGIES:
        with attach(model, name, **options) as handle:
            latents, path = run(model, arguments, tmp_path)
        with attach(model, "replay", **{"from": path}) as again:
            repeated, second = run(model, arguments, tmp_path)
        assert same(repeated, latents), name
        pattern = again.stats.last_generation.pattern
        assert pattern == handle.stats.last_generation.pattern
        assert "S" in pattern
        assert {record.reason for record in again.stats.last_generation.decisions} == {f"as {name} did"}
        with attach(model, replay={"from": str(second)}):
            assert same(run(model, arguments, tmp_path)[0], latents), name
        seen.add(pattern)
    assert len(seen) > 1


@pytest.fixture
def sidecar(tmp_path):
    def write(pattern: str = "CSCSCC", residual_after: int = 0, **more: Any) -> Path:
        path = tmp_path / "run.json"
        entry = {"options": {}, "values": {"forecast": 0}}
        plugins = {"schema": 1, "pattern": pattern, "decider": "mine", "residual_after": residual_after}
        path.write_text(json.dumps({"mflux_plugins": {**plugins, "plugins": {"mine": entry}}, **more}))
        return path

    return write


@pytest.mark.usefixtures("tiny")
def test_what_does_not_fit_the_model_is_refused(sidecar, photo):
    model, arguments = CASES["flux2-guidance"].make(photo)
    with (
        attach(model, "replay", **{"from": sidecar("CSC")}),
        pytest.raises(
            Refused, match=r"run\.json records 3 steps, and this run has 6\. Run as many .* --plugin mine\.$"
        ),
    ):
        generate(model, num_inference_steps=STEPS, **arguments)
    with pytest.raises(Refused, match="residual_after is 9"):
        attach(model, "replay", **{"from": sidecar(residual_after=9)})
    with pytest.raises(OptionError, match="cannot be read"):
        attach(model, "replay", **{"from": "missing.json"})
    with pytest.raises(
        OptionError, match=r"run\.json was made with mflux-teacache/demo-tinyflux, the demo's model before"
    ):
        attach(model, "replay", **{"from": sidecar(model="mflux-teacache/demo-tinyflux")})


@pytest.mark.usefixtures("tiny")
def test_the_plugin_that_is_replayed_need_not_be_installed(sidecar, photo):
    model, arguments = CASES["flux2-guidance"].make(photo)
    with attach(model, "replay", **{"from": sidecar()}) as handle:
        generate(model, num_inference_steps=STEPS, **arguments)
    assert handle.stats.last_generation.pattern == "CSCSCC"


@pytest.mark.usefixtures("tiny")
def test_a_file_in_ones_home(sidecar, photo, monkeypatch):
    path = sidecar()
    monkeypatch.setenv("HOME", str(path.parent))
    model, _ = CASES["flux2-guidance"].make(photo)
    with attach(model, "replay", **{"from": f"~/{path.name}"}):
        pass
    with pytest.raises(
        OptionError, match="'~nobody-here/run.json' begins with the home of a user who is not known here"
    ):
        attach(model, "replay", **{"from": "~nobody-here/run.json"})


@pytest.mark.usefixtures("tiny")
def test_the_file_is_read_once(sidecar, photo):
    """It may change, or be gone, while images are made."""
    model, arguments = CASES["flux2-guidance"].make(photo)
    path = sidecar()
    with attach(model, "replay", **{"from": path}) as handle:
        path.unlink()
        generate(model, num_inference_steps=STEPS, **arguments)
    assert handle.stats.last_generation.pattern == "CSCSCC"


@pytest.mark.usefixtures("tiny")
def test_nothing_is_kept_after_an_image(sidecar, photo):
    from strategies import kept

    from mflux_teacache.strategies.replay import Replay

    model, arguments = CASES["flux2-guidance"].make(photo)
    plugin, made = kept(Replay)
    plugin.mflux_add_options = staticmethod(Replay.mflux_add_options)
    plugin.__name__ = "replay"
    with attach(model, plugin, **{"from": sidecar()}):
        generate(model, num_inference_steps=STEPS, **arguments)
        assert made[0].cache.empty
