"""A model that is another than its family's entry describes: named at attach, or where a step reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest
import tiny_models
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein
from strategies import Observer, ReadsEverything
from tiny_models import generate, same

from mflux_teacache import Family, attach, hookimpl
from mflux_teacache.adapters.families import FLUX2, IDEOGRAM4
from mflux_teacache.errors import UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")

ADVICE = r", which the entry for flux2 names; .* upgrade mflux-teacache-plugin, or install .*\.$"


@pytest.fixture
def model() -> Any:
    return tiny_models.flux2()


def bringing(**changes: Any) -> type:
    """A plugin with another entry for FLUX.2, which wins over ours."""
    family = dataclasses.replace(FLUX2, **changes)

    class Brings(ReadsEverything):
        @hookimpl
        def mflux_families(self) -> list[Family]:
            return [family]

    return Brings


def refused(model: Any, message: str, plugin: Callable[[], Any] = Observer) -> None:
    before = set(vars(model))
    with pytest.raises(UnsupportedModel, match=f"^{message}{ADVICE}"):
        attach(model, plugin)
    assert set(vars(model)) == before
    assert not model.callbacks.in_loop


def test_a_renamed_predict_method(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Flux2Klein, "_predict")
    refused(
        model,
        r"Flux2Klein has no method '_predict' or '_cached_predict', and Flux2Transformer\.__call__ has no argument "
        r"'latents' \(it has hidden_states, encoder_hidden_states, .*\)",
    )


def of_noisy(transformer: Any) -> Callable[..., Any]:
    def predict(noisy: mx.array, timestep: mx.array) -> mx.array:
        return transformer(noisy, timestep)

    return predict


def of_time(transformer: Any) -> Callable[..., Any]:
    scaled = [scale for scale in (1, 1000)]  # noqa: C416 - a function of its own before Python 3.12

    def predict(latents: mx.array, *, time: mx.array) -> mx.array:
        return transformer(latents, time * scaled[1])

    return predict


@pytest.mark.parametrize(
    ("factory", "missing", "has"), [(of_noisy, "latents", "noisy, timestep"), (of_time, "timestep", "latents, time")]
)
def test_a_renamed_argument_of_the_predict_function(
    model: Any, monkeypatch: pytest.MonkeyPatch, factory: Any, missing: str, has: str
) -> None:
    monkeypatch.setattr(Flux2Klein, "_predict", staticmethod(factory))
    refused(model, rf"the function that Flux2Klein\._predict builds has no argument '{missing}' \(it has {has}\)")


def test_one_of_several_functions_that_a_method_defines_is_enough(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def factory(transformer: Any) -> Callable[..., Any]:
        def helper(rows: mx.array) -> mx.array:
            return rows

        def predict(latents: mx.array, timestep: mx.array) -> mx.array:
            return transformer(helper(latents), timestep)

        return predict

    monkeypatch.setattr(Flux2Klein, "_predict", staticmethod(factory))
    attach(model, Observer).restore()


def test_a_renamed_block_argument_that_the_signal_reads(model: Any) -> None:
    block = model.transformer.transformer_blocks[0]
    cls = type(block)

    def call(self: Any, hidden_states: Any, encoder_hidden_states: Any, modulation: Any, kv_cache: Any = None) -> Any:
        raise AssertionError("attaching runs no block")

    block.__class__ = type(cls.__name__, (cls,), {"__call__": call})
    refused(model, r".* no argument 'temb_mod_params_img' \(it has .*, modulation, kv_cache\)")


def test_a_renamed_part_of_the_block(model: Any) -> None:
    def by_another_name(block: Any, call: Any) -> Any:
        return block.norm_in(call["hidden_states"])

    message = "Flux2TransformerBlock in 'transformer_blocks' has no 'norm_in'"
    refused(model, message, bringing(modulated_input=by_another_name))


def test_a_renamed_argument_that_tells_whether_the_call_must_compute(model: Any) -> None:
    refused(
        model,
        r"Flux2TransformerBlock in 'transformer_blocks' has no argument 'cache' \(it has hidden_states, .*\)",
        bringing(must_compute=lambda call: call["cache"] is not None),
    )


def test_a_transformer_that_is_kept_elsewhere(model: Any) -> None:
    second = bringing(attribute=("transformer", IDEOGRAM4.attributes[1]))
    refused(model, "Flux2Klein has no transformer 'unconditional_transformer'", second)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"modulated_input": lambda block, call: mx.exp(call["hidden_states"]) * call["scale"]},
            r"Flux2TransformerBlock in 'transformer_blocks' has no argument 'scale' \(it has hidden_states, .*\)",
        ),
        (
            {"sigma": lambda call: mx.exp(call["timestep"]) + call["sigma"]},
            r"mflux's call for a prediction has no argument 'sigma' \(it has latents, .*\)",
        ),
    ],
    ids=["signal", "sigma"],
)
def test_what_attaching_cannot_know_is_named_when_it_is_read(model: Any, changes: dict[str, Any], message: str) -> None:
    """MLX has no use for a stand-in, so what the entry reads afterwards comes to light in the first step."""
    plain = generate(model)
    attach(model, bringing(**changes))
    with pytest.raises(UnsupportedModel, match=f"^{message}{ADVICE}"):
        generate(model)
    assert same(generate(model), plain)  # taken off
    attach(model, Observer).restore()
