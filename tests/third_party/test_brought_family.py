"""A third party brings a transformer of its own, in a pipeline of its own, and the entry that describes it."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import dreams as dreaming
import mlx.core as mx
import pytest
from strategies import Pattern, ReadsEverything
from tiny_models import generate, same

from mflux_teacache import Step, TokenGrid, attach, discovery, hookimpl
from mflux_teacache.discovery import Found, Installed
from mflux_teacache.errors import HookFailed, Refused, UnsupportedModel


@pytest.fixture
def dreams(monkeypatch: pytest.MonkeyPatch) -> dreaming.Dreams:
    """With the third party's package installed."""
    ours = discovery.search()
    theirs = Installed(
        "dreamer", "dreams", "1.0", EntryPoint("dreamer", f"{dreaming.__name__}:Brings", discovery.GROUP)
    )
    monkeypatch.setattr(discovery, "search", lambda: Found([*ours.plugins, theirs], []))
    return dreaming.Dreams()


def test_without_the_plugin_the_transformer_is_unknown(dreams: dreaming.Dreams) -> None:
    with pytest.raises(
        UnsupportedModel, match=rf"the transformer {dreaming.__name__}:Dreamer is not supported. Supported: flux"
    ):
        attach(dreams, "first-block-cache")


def test_all_computed_is_bit_identical_and_so_is_restored(dreams: dreaming.Dreams) -> None:
    class Watching(dreaming.Brings, ReadsEverything): ...

    plain = generate(dreams)
    with attach(dreams, Watching) as handle:
        assert same(generate(dreams), plain)
        assert handle.stats.history[0].pattern == "CCCCC"
    assert same(generate(dreams), plain)
    assert type(dreams.transformer) is dreaming.Dreamer
    assert {type(layer) for layer in dreams.transformer.layers} == {dreaming.Layer}


def test_a_skipped_step_is_the_residual_by_hand(dreams: dreaming.Dreams) -> None:
    latents: list[mx.array] = []
    sigmas: list[Any] = []

    class Skips(dreaming.Brings, Pattern):
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


def test_sea_wants_to_know_where_the_image_s_tokens_are(
    dreams: dreaming.Dreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="SeaCache needs to know where the image's tokens are"):
        attach(dreams, sea={}, dreamer={})
    monkeypatch.setattr(dreaming, "FAMILY", replace(dreaming.FAMILY, token_grid=TokenGrid(pixels=8)))
    with attach(dreams, sea={"thresh": 1e9}, dreamer={}) as handle:
        generate(dreams)
    assert handle.stats.history[0].pattern == "CSSSC"
    # Not as many tokens as the latents have rows.
    monkeypatch.setattr(dreaming, "FAMILY", replace(dreaming.FAMILY, token_grid=TokenGrid(pixels=16)))
    with (
        attach(dreams, sea={"thresh": 1e9}, dreamer={}),
        pytest.raises(HookFailed, match="SeaCache needs to know where the image's tokens are"),
    ):
        generate(dreams)


def test_installed_strategies_run_on_it(dreams: dreaming.Dreams) -> None:
    plain = generate(dreams)
    for strategy, options, pattern in (
        ("teacache", {"coefficients": [1.0, 0.0], "thresh": 1e9}, "CSSSC"),
        ("first_block_cache", {"thresh": 1e9}, "CSSSS"),
    ):
        with attach(dreams, **{strategy: options, "dreamer": {}}) as handle:
            assert not same(generate(dreams), plain)
        assert handle.stats.history[0].pattern == pattern
        assert handle.plugins == [strategy.replace("_", "-"), "dreamer"]
