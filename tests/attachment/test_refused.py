"""What attaching refuses, and that the model is left as it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from strategies import Observer
from tiny_models import generate

from mflux_teacache import (
    Refused,
    attach,
    hookimpl,
)
from mflux_teacache.errors import AlreadyAttached, OptionError, UnknownPlugin, UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")


def test_an_unknown_plugin_lists_what_is_installed(model: Any, unchanged: None) -> None:
    with pytest.raises(UnknownPlugin, match=r"unknown plugin 'teacahe'. Installed: .*teacache"):
        attach(model, "teacahe")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"tresh": 0.2}, r"plugin 'teacache' has no option 'tresh'. It has: .*thresh"),
        ({"thresh": "high"}, "plugin 'teacache': .*--teacache-thresh"),
        ({"thresh": -1}, "plugin 'teacache': .*--teacache-thresh"),
        ({"force": "yes"}, "--teacache-force is on or off: True or False, not 'yes'"),
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
