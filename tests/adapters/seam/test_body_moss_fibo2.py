"""MOSS-Image and FIBO 2: branches that leave blocks out, streams and branches that change, mflux's own step reuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cases_fibo2
import cases_moss
import mlx.core as mx
import pytest
from recording import Loop, Watch, run, seen_by
from strategies import Observer, Pattern, kept
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import PIPELINES, family_of, refuse_partly
from mflux_teacache.adapters.seam.compiled import probe
from mflux_teacache.adapters.seam.image import Body
from mflux_teacache.errors import UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")

CASES = {**cases_moss.CASES, **cases_fibo2.CASES}

# 64x64 pixels are 16 rows in both; the prompt has 7 text rows, or 5 or more gist rows; a reference image has 16 more.
_TWO = [16 + 7, 16 + 5]
ROWS = {
    "moss": [[16 + 7]] * 5,
    "moss-guidance": [_TWO] * 5,
    "moss-guidance-all-layers": [_TWO] * 5,
    "moss-without-the-first": [_TWO] * 5,
    "moss-without-the-last": [_TWO] * 5,
    "moss-without-the-first-two-and-the-last": [_TWO] * 5,
    "fibo2": [[5 + 16]] * 5,
    "fibo2-guidance": [[5 + 16, 3 + 16]] * 5,
    "fibo2-guidance-ends": [[5 + 16, 3 + 16]] * 3 + [[5 + 16]] * 2,
    "fibo2-text-images": [[5 + 16, 3 + 16]] + [[6 + 16, 3 + 16]] * 4,
    "fibo2-edit": [[6 + 32]] * 4 + [[6 + 32]],
    "fibo2-edit-guidance": [[6 + 32, 3 + 32]] * 5,
}


@pytest.mark.parametrize("name", CASES)
def test_a_plugin_sees_sigmas_latents_and_the_rows_of_each_branch(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    loop = Loop()
    model.callbacks.register(loop)
    plugin, made = kept(Watch)
    with attach(model, plugin) as handle:
        generate(model, **arguments)
    [watch] = made
    assert [record.sigma for record in handle.stats.history[0].decisions] == pytest.approx(loop.sigmas, abs=1e-6)
    for seen, entered in zip(watch.latents, loop.latents, strict=False):
        assert same(seen, entered)
    rows = [[branch.input.shape[1] for branch in body.branches] for body in watch.bodies]
    assert rows == ROWS[name]
    assert watch.branches == [None, *(len(branches) for branches in rows[:-1])]


@pytest.mark.parametrize("name", CASES)
def test_the_signal_is_what_block_0_hands_to_its_attention(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    transformer = model.transformer
    calls = seen_by(transformer)
    generate(model, num_inference_steps=3, **arguments)
    body = Body(transformer, family_of(transformer, FAMILIES))
    body.install()
    block = transformer.layers[0]
    seen = seen_by(block.proj["q"] if name.startswith("moss") else block.attention)
    signal = probe(body, lambda: transformer(**calls[0]), first_block=True).modulated_input
    [[handed, *_]] = [list(call.values()) for call in seen]
    assert same(signal, handed)


@pytest.mark.parametrize("residual_after", [0, 1, 2])
@pytest.mark.parametrize("name", CASES)
def test_each_branch_s_own_residual_reproduces_its_output(name: str, residual_after: int, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    transformer = model.transformer
    calls = seen_by(transformer)
    generate(model, num_inference_steps=3, **arguments)
    body = Body(transformer, family_of(transformer, FAMILIES), residual_after)
    for call in calls[:2]:
        plain = transformer(**call)
        body.install()
        forward = lambda call=call: transformer(**call)  # noqa: E731
        result, [computed] = run(body, forward, [], None)
        assert same(result, plain)
        residual = computed.output - computed.input
        again, [reused] = run(body, forward, [residual], None)
        assert reused.reused
        assert same(reused.output, computed.input + residual)
        assert mx.allclose(again, plain, atol=1e-5)
        without, _ = run(body, forward, [mx.zeros_like(residual)], None)
        assert not mx.allclose(without, plain, atol=1e-3)
        body.restore()


@pytest.mark.parametrize("skipped", [{0}, {1}, {3}, {0, 1, 3}, {1, 2, 3}])
@pytest.mark.parametrize("residual_after", [0, 1, 2, 3])
def test_branches_of_one_forward_are_told_apart_although_blocks_are_left_out(
    skipped: set[int], residual_after: int
) -> None:
    """The residual is taken after the blocks that are called of the first ``residual_after``."""
    transformer = cases_moss.moss().transformer
    latents, text = mx.random.normal((1, 128, 2, 3)), mx.random.normal((1, 5, 12))
    by_hand = _streams_between_layers(transformer, latents, text, skipped)
    body = Body(transformer, family_of(transformer, FAMILIES), residual_after)
    body.install()
    left_out = frozenset(skipped)
    forward = lambda: [transformer(latents, 500.0, text), transformer(latents, 500.0, text, left_out)]  # noqa: E731
    plain, [_, branch] = run(body, forward, [], None)
    assert same(branch.input, by_hand[len(set(range(residual_after)) - skipped)])
    assert same(branch.output, by_hand[-1])
    # Another residual than its own, for the second branch alone.
    changed, [first, second] = run(body, forward, [None, mx.ones_like(branch.input)], None)
    assert same(changed[0], plain[0])
    something_to_skip = any(index >= residual_after for index in set(range(4)) - skipped)
    assert [first.reused, second.reused] == [False, something_to_skip]
    assert mx.allclose(changed[1], plain[1], atol=1e-3) == (not something_to_skip)


def _streams_between_layers(transformer: Any, latents: mx.array, text: mx.array, skipped: set[int]) -> list[mx.array]:
    """Before the first called layer, and after each."""
    called = [layer for index, layer in enumerate(transformer.layers) if index not in skipped]
    seen = [seen_by(layer) for layer in called]
    transformer(latents, 500.0, text, frozenset(skipped))
    last = seen[-1][0]
    streams = [calls[0]["x"] for calls in seen]
    for layer in called:
        layer.__class__ = type(layer).__mro__[1]
    return [*streams, called[-1](last["x"], last["rope"], last["modulation"])]


def test_an_unconditional_branch_without_any_layer_is_left_to_mflux(photo: Path) -> None:
    model = cases_moss.moss()
    arguments: dict[str, Any] = {"uncond_skip_layers": (0, 1, 2, 3)}
    plain = generate(model, **arguments)
    with attach(model, Observer):
        assert same(generate(model, **arguments), plain)
    with attach(model, Pattern) as handle:
        assert not same(generate(model, **arguments), plain)
    assert handle.stats.history[0].pattern == "CSCSC"


def test_a_reuse_on_which_guidance_ends_takes_the_prompt_s_residual(photo: Path) -> None:
    model, arguments = cases_fibo2.CASES["fibo2-guidance-ends"].make(photo)
    plugin, made = kept(Pattern)
    with attach(model, plugin) as handle:
        generate(model, **arguments)
    assert handle.stats.history[0].pattern == "CSCSC"
    before, at_the_end = made[0].bodies[2:4]
    assert (len(before.branches), len(at_the_end.branches)) == (2, 1)
    assert at_the_end.branches[0].reused
    assert same(at_the_end.branches[0].residual, before.branches[0].residual)


def test_another_prompt_computes_and_the_other_branch_is_reused(photo: Path) -> None:
    model, arguments = cases_fibo2.CASES["fibo2-text-images"].make(photo)
    plugin, made = kept(Pattern)
    with attach(model, plugin) as handle:
        generate(model, **arguments)
    assert [branch.reused for branch in made[0].bodies[1].branches] == [False, True]
    record = handle.stats.history[0].decisions[1]
    # Not branch 0: its prompt has no picture of the text yet.
    assert (record.decision, record.reason) == ("partial", "no residual fits branch 2")


STEP_REUSE = pytest.mark.parametrize("name", ["moss-guidance", "fibo2-guidance", "fibo2-edit-guidance"])


@STEP_REUSE
def test_a_deciding_plugin_refuses_mflux_s_own_step_reuse(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    with attach(model, Pattern) as handle:
        with pytest.raises(UnsupportedModel, match=r"step_cache_ratio=0\.25"):
            generate(model, step_cache_ratio=0.25, **arguments)
        generate(model, **arguments)
    assert handle.stats.generations == 1


@STEP_REUSE
def test_an_observer_sees_the_steps_that_mflux_s_own_step_reuse_leaves(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    arguments |= {"step_cache_ratio": 0.3, "num_inference_steps": 10}
    plain = generate(model, **arguments)
    plugin, made = kept(Watch)
    with attach(model, plugin) as handle:
        assert same(generate(model, **arguments), plain)
    assert handle.stats.history[0].pattern == "C" * 7
    seen = [step.index for step in made[0].steps]
    assert len(seen) == 7
    assert (seen[0], seen[-1]) == (0, 9)  # mflux computes the first and the last steps


@pytest.mark.parametrize("name", ["MOSSImage", "Fibo2", "Fibo2Edit"])
def test_step_reuse_is_refused_before_there_is_a_model(name: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"pipeline {name}, but none that decides"):
        refuse_partly(PIPELINES[name], {"step_cache_ratio": 0.5}, deciding=True)
    refuse_partly(PIPELINES[name], {"step_cache_ratio": 0.5}, deciding=False)
    refuse_partly(PIPELINES[name], {"step_cache_ratio": None}, deciding=True)
