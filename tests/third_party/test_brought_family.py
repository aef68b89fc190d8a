"""A third party brings a transformer of its own, in a pipeline of its own, and the entry that describes it."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from mflux.callbacks.callback_registry import CallbackRegistry
from mlx import nn
from strategies import Pattern, ReadsEverything
from tiny_models import generate, randomised, same

from mflux_teacache import Family, Joint, Step, TokenGrid, attach, discovery, hookimpl
from mflux_teacache.discovery import Found, Installed
from mflux_teacache.errors import HookFailed, Refused, UnsupportedModel


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(8, affine=False), nn.Linear(8, 8)

    def __call__(self, x: mx.array, scale: mx.array) -> mx.array:
        return x + self.mix(self.norm(x) * scale)


class Dreamer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.out = [Layer() for _ in range(4)], nn.Linear(8, 8)

    def __call__(self, noisy: mx.array, noise: mx.array) -> mx.array:
        x = noisy
        for layer in self.layers:
            x = layer(x, 1 + noise)
        return self.out(x)


class Dreams:
    """A pipeline that mflux does not have: of mflux it uses the callbacks."""

    def __init__(self) -> None:
        self.transformer = randomised(Dreamer(), seed=1, scale=0.5)
        self.callbacks = CallbackRegistry()

    def generate_image(
        self, seed: int, prompt: str, num_inference_steps: int, height: int, width: int, guidance: float = 1.0
    ) -> None:
        steps = range(num_inference_steps)
        config = SimpleNamespace(
            num_inference_steps=num_inference_steps,
            init_time_step=0,
            time_steps=steps,
            height=height,
            width=width,
            guidance=guidance,
        )
        latents = mx.random.normal((1, height * width // 64, 8), key=mx.random.key(seed))
        context = self.callbacks.start(seed=seed, prompt=prompt, config=config)
        context.before_loop(latents)
        for t in steps:
            noise = mx.array(1 - t / num_inference_steps)
            latents = latents - self.transformer(latents, noise) / num_inference_steps
            context.in_loop(t, latents)
            mx.eval(latents)
        context.after_loop(latents)


FAMILY = Family(
    name="dreamer",
    transformer=f"{__name__}:Dreamer",
    body=(Joint("layers", stream="x"),),
    modulated_input=lambda layer, call: layer.norm(call["x"]) * call["scale"],
    sigma=lambda call: call["noise"],
    latents="noisy",
    packed=True,
)


class Brings:
    @hookimpl
    def mflux_families(self) -> list[Family]:
        return [FAMILY]


@pytest.fixture
def dreams(monkeypatch: pytest.MonkeyPatch) -> Dreams:
    """With the third party's package installed."""
    ours = discovery.search()
    theirs = Installed("dreamer", "dreams", "1.0", EntryPoint("dreamer", f"{__name__}:Brings", discovery.GROUP))
    monkeypatch.setattr(discovery, "search", lambda: Found([*ours.plugins, theirs], []))
    return Dreams()


def test_without_the_plugin_the_transformer_is_unknown(dreams: Dreams) -> None:
    with pytest.raises(
        UnsupportedModel, match=rf"the transformer {__name__}:Dreamer is not supported. Supported: flux"
    ):
        attach(dreams, "first-block-cache")


def test_all_computed_is_bit_identical_and_so_is_restored(dreams: Dreams) -> None:
    class Watching(Brings, ReadsEverything): ...

    plain = generate(dreams)
    with attach(dreams, Watching) as handle:
        assert same(generate(dreams), plain)
        assert handle.stats.history[0].pattern == "CCCCC"
    assert same(generate(dreams), plain)
    assert type(dreams.transformer) is Dreamer
    assert {type(layer) for layer in dreams.transformer.layers} == {Layer}


def test_a_skipped_step_is_the_residual_by_hand(dreams: Dreams) -> None:
    latents: list[mx.array] = []
    sigmas: list[Any] = []

    class Skips(Brings, Pattern):
        @hookimpl
        def mflux_step_start(self, step: Step) -> None:
            latents.append(step.latents)
            sigmas.append(step.sigma)

    with attach(dreams, Skips) as handle:
        generate(dreams)
    assert handle.stats.history[0].pattern == "CSCSC"
    assert sigmas == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    transformer, x = dreams.transformer, latents[0]
    for layer in transformer.layers:
        x = layer(x, mx.array(2.0))
    skipped = latents[1] - transformer.out(latents[1] + (x - latents[0])) / 5
    assert mx.allclose(latents[2], skipped, atol=1e-5)
    assert not mx.allclose(latents[2], latents[1] - transformer.out(latents[1]) / 5, atol=1e-2)


def test_sea_wants_to_know_where_the_image_s_tokens_are(dreams: Dreams, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="SeaCache needs to know where the image's tokens are"):
        attach(dreams, sea={}, dreamer={})
    monkeypatch.setitem(globals(), "FAMILY", replace(FAMILY, token_grid=TokenGrid(pixels=8)))
    with attach(dreams, sea={"thresh": 1e9}, dreamer={}) as handle:
        generate(dreams)
    assert handle.stats.history[0].pattern == "CSSSC"
    # Not as many tokens as the latents have rows.
    monkeypatch.setitem(globals(), "FAMILY", replace(FAMILY, token_grid=TokenGrid(pixels=16)))
    with (
        attach(dreams, sea={"thresh": 1e9}, dreamer={}),
        pytest.raises(HookFailed, match="SeaCache needs to know where the image's tokens are"),
    ):
        generate(dreams)


def test_installed_strategies_run_on_it(dreams: Dreams) -> None:
    plain = generate(dreams)
    for strategy, options, pattern in (
        ("teacache", {"coefficients": [1.0, 0.0], "thresh": 1e9}, "CSSSC"),
        ("first_block_cache", {"thresh": 1e9}, "CSSSS"),
    ):
        with attach(dreams, **{strategy: options, "dreamer": {}}) as handle:
            assert not same(generate(dreams), plain)
        assert handle.stats.history[0].pattern == pattern
        assert handle.plugins == [strategy.replace("_", "-"), "dreamer"]
