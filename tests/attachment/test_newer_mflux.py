"""An mflux newer than any that was tested: it works, unless something that a family's entry names is missing."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from typing import Any

import pytest
from mflux.models.flux2.model.flux2_transformer.transformer_block import Flux2TransformerBlock
from strategies import Observer, Pattern, ReadsEverything
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.errors import UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")

ADVICE = (
    ", which the entry for flux2 names; this version of mflux may be newer than the newest supported one: upgrade "
    "mflux-teacache-plugin, or install an earlier mflux."
)


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    """What anything that asks is told."""
    known = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99.0" if name == "mflux" else known(name))


def test_what_is_new_is_passed_by(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = generate(model, guidance=4.0)
    old = Flux2TransformerBlock.__call__

    def new(self: Any, hidden_states: Any, encoder_hidden_states: Any, *, tiles: int = 1, **more: Any) -> Any:
        return old(self, hidden_states, encoder_hidden_states, **more)

    monkeypatch.setattr(Flux2TransformerBlock, "__call__", new)
    model.transformer.refiner_blocks = [lambda: None]
    assert same(generate(model, guidance=4.0), plain)
    with attach(model, ReadsEverything):
        assert same(generate(model, guidance=4.0), plain)
    with attach(model, Pattern) as handle:
        assert not same(generate(model, guidance=4.0), plain)
    assert handle.stats.history[0].pattern == "CSCSC"
    assert same(generate(model, guidance=4.0), plain)


def rewrite_block(model: Any, call: Callable[..., Any]) -> None:
    for block in model.transformer.transformer_blocks:
        block.__class__ = type("Flux2TransformerBlock", (type(block),), {"__call__": call})


def without_block_list(model: Any) -> str:
    model.transformer.layers = model.transformer.pop("transformer_blocks")
    return "Flux2Transformer has no block list 'transformer_blocks'"


def with_stream_by_another_name(model: Any) -> str:
    def call(self: Any, image: Any, encoder_hidden_states: Any, temb_mod_params_img: Any) -> None: ...

    rewrite_block(model, call)
    return (
        "Flux2TransformerBlock in 'transformer_blocks' has no argument 'hidden_states' "
        "(it has image, encoder_hidden_states, temb_mod_params_img)"
    )


def with_modulation_by_another_name(model: Any) -> str:
    def call(self: Any, hidden_states: Any, encoder_hidden_states: Any, modulation: Any) -> None: ...

    rewrite_block(model, call)
    return (
        "Flux2TransformerBlock in 'transformer_blocks' has no argument 'temb_mod_params_img' "
        "(it has hidden_states, encoder_hidden_states, modulation)"
    )


@pytest.mark.parametrize("change", [without_block_list, with_stream_by_another_name, with_modulation_by_another_name])
def test_what_is_missing_is_named_and_nothing_is_left_behind(model: Any, change: Callable[[Any], str]) -> None:
    message = change(model)
    before = set(vars(model))
    with pytest.raises(UnsupportedModel, match=f"^{re.escape(message + ADVICE)}$"):
        attach(model, Observer)
    assert set(vars(model)) == before
    assert not model.callbacks.in_loop
