"""Advice about models: provoked, followed, and seen to help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tiny_models
from advised import told

from mflux_teacache import attach, attached

pytestmark = pytest.mark.usefixtures("tiny")

FORCED = {"coefficients": (0.3,), "thresh": 0.5}
IMAGE = {"seed": 1, "prompt": "x", "num_inference_steps": 10, "height": 64, "width": 64, "guidance": 1.0}


def on_and_off(model: Any, *plugins: str, **options: Any) -> Callable[[], None]:
    def act() -> None:
        with attach(model, *plugins, **options):
            pass

    return act


def drawing(model: Any, *plugins: str, **options: Any) -> Callable[[], None]:
    def act() -> None:
        with attach(model, *plugins, **options):
            model.generate_image(**IMAGE)

    return act


def test_a_model_that_has_plugins() -> None:
    model = tiny_models.flux2()
    with attach(model, "teacache", **FORCED):
        message = told(on_and_off(model, "easycache"))
        assert message is not None
        assert "Call restore() on its handle first, which mflux_teacache.attached(model) returns" in message
        assert "or name all plugins in one attach()." in message
        handle = attached(model)
        assert handle is not None
        handle.restore()
        assert told(on_and_off(model, "easycache")) is None
    record = {"teacache_record": {"output": "calibration.json"}}
    assert told(on_and_off(model, teacache=FORCED, **record)) is None


def test_a_plugin_named_twice() -> None:
    model = tiny_models.flux2()
    twice: dict[str, Any] = {"first_block_cache": {"thresh": 0.1}, "first-block-cache": {"skip_first": 2}}
    message = told(on_and_off(model, **twice))
    assert message is not None
    assert message.endswith("Give all of its options in one dict.")
    assert told(on_and_off(model, first_block_cache={"thresh": 0.1, "skip_first": 2})) is None


def test_blocks_of_a_model_that_mflux_compiles_itself() -> None:
    model = tiny_models.flux2()
    message = told(drawing(model, "easycache", compile_blocks=True))
    assert message is not None
    assert message.endswith("Leave it out.")
    assert told(drawing(model, "easycache")) is None


def test_a_block_that_was_replaced() -> None:
    model = tiny_models.flux2()
    blocks = model.transformer.transformer_blocks
    with attach(model, "teacache", **FORCED):
        removed = blocks.pop()
        message = told(lambda: model.generate_image(**IMAGE))
        assert message is not None
        assert message.endswith("Attach again.")
    with attach(model, "teacache", **FORCED):
        assert told(lambda: model.generate_image(**IMAGE)) is None
    blocks.append(removed)
