"""What plugins see, and what is recorded."""

from __future__ import annotations

import gc
import itertools
import json
import weakref
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import tiny_models
from strategies import Observer, Pattern, ProbedPattern, kept
from tiny_models import generate, same

from mflux_teacache import (
    Family,
    Generation,
    PluginError,
    PluginWarning,
    Step,
    attach,
    hookimpl,
)
from mflux_teacache.adapters.families import FLUX2
from mflux_teacache.image_record.read import read

pytestmark = pytest.mark.usefixtures("tiny")


def test_signals_and_decisions_of_each_step_are_recorded(model: Any) -> None:
    with attach(model, "teacache", thresh=0.3, coefficients=[1.0, 0.0], skip_last=0) as handle:
        generate(model, num_inference_steps=6)
    image = handle.stats.last_generation
    assert image is not None
    assert [record.index for record in image.decisions] == list(range(6))
    sigmas = [record.sigma for record in image.decisions]
    assert sigmas[0] == pytest.approx(1.0)
    assert sigmas == sorted(sigmas, reverse=True)
    assert image.decisions[0].change is None
    assert all(record.change is not None and record.change > 0 for record in image.decisions[1:])
    assert all(record.threshold == 0.3 for record in image.decisions[1:])
    assert handle.stats.computed_count + handle.stats.forced_count + handle.stats.skipped_count == 6
    assert handle.stats.speedup_estimate == pytest.approx(6 / (6 - handle.stats.skipped_count))
    assert image.seconds > 0


def test_each_step_s_time_lasts_until_the_next_one_begins(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that counts how often it is read: once as the loop begins, at each step, and as the loop ends."""
    readings = itertools.count(10.0, 10.0)
    monkeypatch.setattr("time.perf_counter", lambda: next(readings))
    during: list[float | None] = []

    class Watch:
        @hookimpl
        def mflux_pre_transformer(self, step: Step) -> None:
            during.extend(record.seconds for record in step.generation.records)

    with attach(model, Watch) as handle:
        generate(model, num_inference_steps=3, guidance=4.0)
    image = handle.stats.last_generation
    assert image is not None
    assert [record.seconds for record in image.decisions] == [10.0, 10.0, 10.0]
    assert image.seconds == 40.0
    assert set(during) == {None}


def test_post_transformer_sees_every_branch(model: Any) -> None:
    plugin, made = kept(ProbedPattern)
    with attach(model, plugin):
        generate(model, guidance=4.0)
    [instance] = made
    assert [len(body.branches) for body in instance.bodies] == [2] * 5
    assert [body.computed for body in instance.bodies] == [True, False, True, False, True]
    assert all(isinstance(step, Step) for step in instance.steps)
    computed, reused = instance.bodies[0], instance.bodies[1]
    for branch, again in zip(computed.branches, reused.branches, strict=True):
        assert branch.residual.shape == (1, 16, 64)
        assert mx.allclose(branch.output - branch.input, branch.residual)
        assert same(again.residual, branch.residual)
        assert same(again.output, again.input + branch.residual)
    assert [step.branches for step in instance.steps] == [None, 2, 2, 2, 2]


def test_a_step_that_a_plugin_keeps_lets_the_model_go(model: Any) -> None:
    plugin, made = kept(ProbedPattern)
    with attach(model, plugin):
        generate(model)
    step = made[0].steps[2]
    assert step.sigma is not None
    with pytest.raises(PluginError, match="this step is over"):
        _ = step.latents
    transformer = weakref.ref(model.transformer)
    model.transformer = None
    gc.collect()
    assert transformer() is None


def test_image_to_image_counts_its_active_steps(model: Any, photo: Path) -> None:
    seen: list[Generation] = []

    class Watching:
        @hookimpl
        def mflux_generation_start(self, generation: Generation) -> None:
            seen.append(generation)

    with attach(model, Watching) as handle:
        generate(model, num_inference_steps=10, image_path=photo, image_strength=0.3)
    assert (seen[0].num_inference_steps, seen[0].active_steps) == (10, 7)
    assert handle.stats.history[0].num_steps == len(handle.stats.history[0].decisions) == 7
    assert (seen[0].seed, seen[0].prompt, seen[0].width, seen[0].height) == (1, "x", 64, 64)


def test_reference_images_are_not_target_rows(photo: Path) -> None:
    from mflux.models.flux2.variants.edit.flux2_klein_edit import Flux2KleinEdit

    rows: list[tuple[int | None, int]] = []

    class Measuring:
        @hookimpl
        def mflux_step_start(self, step: Step) -> None:
            rows.append((step.generation.target_rows, step.modulated_input.shape[1]))

    model = tiny_models.flux2(Flux2KleinEdit)
    with attach(model, Measuring):
        generate(model, image_paths=[photo])
    assert set(rows) == {(16, 32)}


def test_the_image_s_metadata_tell_how_it_was_made(model: Any) -> None:
    arguments = {"seed": 1, "prompt": "x", "num_inference_steps": 5, "height": 32, "width": 32}
    with attach(model, "teacache", thresh=1e9, coefficients=[0.0, 1.0]):
        image = model.generate_image(**arguments)
    entry = image._get_metadata()["mflux_plugins"]
    assert entry["pattern"] == "CSSSC"
    assert entry["plugins"]["teacache"]["options"]["thresh"] == 1e9
    assert entry["plugins"]["teacache"]["package"] == "mflux-teacache-plugin"
    assert image.get_right_half()._get_metadata()["mflux_plugins"] == entry
    assert "mflux_plugins" not in model.generate_image(**arguments)._get_metadata()


def test_metadata_that_is_not_json_is_left_out_with_a_warning(model: Any) -> None:
    class Arrays:
        @hookimpl
        def mflux_image_metadata(self) -> dict[str, Any]:
            return {"residual": mx.zeros(2)}

    with attach(model, Arrays), pytest.warns(PluginWarning, match="'arrays': mflux_image_metadata gave values"):
        image = model.generate_image(seed=1, prompt="x", num_inference_steps=2, height=32, width=32)
    assert image._get_metadata()["mflux_plugins"]["plugins"]["arrays"]["values"] == {}


@pytest.mark.parametrize(
    "values",
    [
        {"score": 10**2000},
        {"a": [1] * 200_000},
        {"forecast": 0, "a": "x" * 70_000},
        {"forecast": 0, "a": [[[[]]]] * 9000},
    ],
    ids=["many digits", "many lines", "long for a replay", "large for a replay"],
)
def test_what_could_not_be_brought_back_is_not_recorded(model: Any, values: dict[str, Any], tmp_path: Path) -> None:
    class Wordy(Pattern):
        @hookimpl
        def mflux_image_metadata(self) -> dict[str, Any]:
            return values

    with attach(model, Wordy), pytest.warns(PluginWarning, match=r"'wordy': .*(not|They are not) recorded"):
        image = model.generate_image(seed=1, prompt="x", num_inference_steps=2, height=32, width=32)
    entry = image._get_metadata()["mflux_plugins"]
    assert entry["plugins"]["wordy"]["values"] == {}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"mflux_plugins": entry}, indent=4))
    assert read(path).decided is None


def test_a_generate_image_that_calls_itself_records_each_image(model: Any) -> None:
    """Qwen-Image 2.1 edit tries again inside its own generate_image."""
    plain = type(model).generate_image

    class Retrying(type(model)):  # type: ignore[misc]
        def generate_image(self, *, retry: bool = True, **arguments: Any) -> Any:
            first = plain(self, **arguments)
            return self.generate_image(**{**arguments, "num_inference_steps": 3}, retry=False) if retry else first

    model.__class__ = Retrying
    with attach(model, Pattern) as handle:
        image = model.generate_image(seed=1, prompt="x", num_inference_steps=5, height=32, width=32)
    assert [entry.pattern for entry in handle.stats.history] == ["CSCSC", "CSC"]
    assert image._get_metadata()["mflux_plugins"]["pattern"] == "CSC"


def test_a_third_party_adds_a_family(model: Any) -> None:
    class Ported(type(model.transformer)):  # type: ignore[misc]
        """Another class that only its own entry knows, with an outcome that shows which entry was used."""

    entry = Family(
        name="ported",
        transformer=f"{Ported.__module__}:{Ported.__qualname__}",
        body=FLUX2.body,
        modulated_input=lambda block, arguments: arguments["hidden_states"],
        sigma=lambda call: 0.5,
        latents="latents",
        predict=("_predict",),
    )

    class Porter(Observer):
        @hookimpl
        def mflux_families(self) -> list[Family]:
            return [entry]

    model.transformer.__class__ = Ported
    with attach(model, Porter) as handle:
        generate(model)
    assert {record.sigma for record in handle.stats.history[0].decisions} == {0.5}
