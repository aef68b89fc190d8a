"""What attaching refuses, and that the model is left as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import all_cases
import pytest
import tiny_models
from installed import has
from strategies import Observer
from tiny_models import generate

from mflux_teacache import Refused, Target, attach, hookimpl
from mflux_teacache.errors import AlreadyAttached, OptionError, UnknownPlugin, UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")


def test_an_unknown_plugin_lists_what_is_installed(model: Any, unchanged: None) -> None:
    with pytest.raises(UnknownPlugin, match=r"unknown plugin 'teacahe'. Did you mean teacache\? Installed: .*teacache"):
        attach(model, "teacahe")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"tresh": 0.2}, "plugin 'teacache' .*'tresh'.*thresh"),
        ({"thresh": "high"}, "plugin 'teacache': .*--teacache-thresh"),
        ({"thresh": -1}, "plugin 'teacache': .*--teacache-thresh"),
        ({"force": "yes"}, "--teacache-force .*'yes'"),
    ],
)
def test_keywords_are_checked_as_flags_are(model: Any, unchanged: None, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        attach(model, "teacache", **keywords)


def test_a_call_without_a_plugin_says_how(model: Any, unchanged: None) -> None:
    with pytest.raises(OptionError, match="no plugin named"):
        attach(model)
    with pytest.raises(OptionError, match=r"thresh=0\.2: without a plugin's name before it"):
        attach(model, thresh=0.2)


def test_two_deciders_are_refused_by_name(model: Any, unchanged: None) -> None:
    with pytest.raises(Refused, match="'teacache' and 'first-block-cache' both decide"):
        attach(model, teacache={}, first_block_cache={})


def test_attaching_twice_is_refused(model: Any, unchanged: None) -> None:
    with attach(model, Observer):
        with pytest.raises(AlreadyAttached, match="plugin 'observer' is attached to this model already"):
            attach(model, "teacache")
        generate(model)
    with attach(model, Observer):
        pass


def test_compiled_blocks_count_as_attached() -> None:
    model = tiny_models.flux1()
    with attach(model, compile_blocks=True), pytest.raises(AlreadyAttached, match="^compiled blocks are attached to"):
        attach(model, Observer)


@pytest.mark.parametrize("make", [tiny_models.flux1, tiny_models.flux2])
def test_a_transformer_that_two_models_share_is_attached_to_once(make: Any) -> None:
    first, second = make(), make()
    second.transformer = first.transformer
    classes = [type(module) for module in first.transformer.modules()]
    handle = attach(first, Observer)
    with pytest.raises(AlreadyAttached, match="'observer' is attached to another model with the same transformer"):
        attach(second, Observer)
    handle.restore()
    with attach(second, Observer) as other:
        generate(second)
        assert other.stats.generations == 1
    assert [type(module) for module in first.transformer.modules()] == classes


def test_mlx_teacache_on_the_same_model_is_refused(model: Any) -> None:
    def generate_image() -> None: ...

    generate_image.__module__ = "mlx_teacache.integrations.mflux.lifecycle"
    model.generate_image = generate_image
    with pytest.raises(AlreadyAttached, match="mlx-teacache is at work"):
        attach(model, Observer)


def test_an_unknown_transformer_is_refused(model: Any) -> None:
    model.transformer = SimpleNamespace()
    with pytest.raises(UnsupportedModel, match=r"types:SimpleNamespace is not supported. Supported: flux"):
        attach(model, Observer)


def test_a_model_without_a_transformer_is_refused_with_where_it_was_looked_for(model: Any) -> None:
    model.transformer = None
    with pytest.raises(
        UnsupportedModel, match=r"Flux2Klein holds no transformer: it has none of .*, transformer, unco"
    ):
        attach(model, Observer)


def test_a_renamed_block_list_is_refused_and_nothing_is_left_behind(model: Any) -> None:
    model.transformer.layers = model.transformer.pop("single_transformer_blocks")
    before = set(vars(model))
    with pytest.raises(UnsupportedModel, match="no block list 'single_transformer_blocks'"):
        attach(model, Observer)
    assert set(vars(model)) == before
    assert not model.callbacks.in_loop


@pytest.mark.skipif(not has("mflux.models.flux3"), reason="this mflux has no pipeline without a number of its own")
def test_what_only_mflux_knows_of_an_image_is_refused_before_its_first_step_and_stays_attached(photo: Path) -> None:
    """FLUX 3 has 16 steps if nothing is said, which no default argument tells."""
    model, arguments = all_cases.cases_of("cases_flux3")["flux3"].make(photo)
    arguments.pop("num_inference_steps", None)
    with attach(model, "schedule", pattern="CSCSCSCS") as handle:
        with pytest.raises(Refused, match="has 8 letters, but the run has 16"):
            model.generate_image(**{"seed": 1, "prompt": "x", "height": 32, "width": 32, **arguments})
        assert handle.stats.history == []
        generate(model, **arguments, num_inference_steps=8)
        assert handle.stats.last_generation.pattern == "CSCSCSCS"


@pytest.mark.skipif(not has("mflux.models.iris"), reason="this mflux has no Iris")
def test_a_model_with_a_number_of_steps_of_its_own_is_judged_by_that(photo: Path) -> None:
    model, arguments = all_cases.cases_of("cases_iris")["iris-turbo"].make(photo)
    with attach(model, "schedule", pattern="CCSC") as handle:
        generate(model, **{**arguments, "num_inference_steps": 8})  # which mflux passes by
    assert handle.stats.last_generation.pattern == "CCSC"


def test_nothing_is_checked_twice_where_mflux_makes_what_was_asked_for(model: Any) -> None:
    class Counting:
        @hookimpl
        def mflux_check(self, target: Target) -> None:
            seen.append((target.active_steps, target.guidance, target.width))

    seen: list[Any] = []
    with attach(model, Counting):
        generate(model, num_inference_steps=2, guidance=4)
        assert seen == [(None, None, None), (2, 4.0, 64)]
        generate(model, num_inference_steps=2, width=72)  # of which mflux makes a multiple of 16
    assert seen[2:] == [(2, 1.0, 72), (2, 1.0, 64)]


def test_a_plugin_that_refuses_an_image_leaves_it_undone(model: Any, unchanged: None) -> None:
    class Picky:
        @hookimpl
        def mflux_check(self, target: Any) -> None:
            if target.steps is not None and target.active_steps < 3:
                raise Refused(f"{target.active_steps} steps are too few; 3 would do")

    with attach(model, Picky) as handle:
        with pytest.raises(Refused, match="2 steps are too few"):
            generate(model, num_inference_steps=2)
        generate(model, num_inference_steps=3)
        assert handle.stats.generations == 1
