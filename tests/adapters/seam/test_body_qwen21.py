"""Qwen-Image 2.1: blocks that are entered by other methods, and compiled inside, or that a ControlNet calls."""

from __future__ import annotations

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from mflux.models.qwen21.model.qwen21_transformer import qwen21_transformer
from mlx import nn
from qwen21 import BRANCHES, CASES, JOINT, ROWS, TEXT_TO_IMAGE, caller_of, calls_of, entered_by, those
from recording import Loop, Watch, carries, run, seen_by
from strategies import Observer, Pattern, ProbedPattern, kept
from tiny_models import generate, memory_saver, same

from mflux_teacache import attach
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import family_of
from mflux_teacache.adapters.seam.compiled import probe
from mflux_teacache.adapters.seam.image import Body

pytestmark = pytest.mark.usefixtures("tiny")

ATTENTION = {"__call__": "__call__", "image_forward": "image_attention", "forward_reference": "forward_reference"}


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that a test records must not be traced ones."""
    core = SimpleNamespace(**{**vars(mx), "compile": lambda function: function})
    monkeypatch.setattr(qwen21_transformer, "mx", core)


def _image(stream: mx.array, name: str) -> mx.array:
    """The image's rows, which come last; all of them take part where the text is in the body."""
    return stream if name in TEXT_TO_IMAGE else stream[:, -ROWS:]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", CASES)
def test_the_signal_is_what_block_0_hands_to_its_attention(name: str, photo: Path) -> None:
    model, forwards = calls_of(name, photo)
    body = Body(model.transformer, family_of(model.transformer, FAMILIES))
    body.install()
    seen = seen_by(model.transformer.transformer_blocks[0].attn, ATTENTION[entered_by(name)])
    for forward in forwards:
        signal = probe(body, forward, first_block=True).modulated_input
        assert same(signal, _image(next(iter(seen[-1].values())), name))
        assert signal.shape[1] == ROWS or name in JOINT


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("residual_after", [0, 1, 2])
@pytest.mark.parametrize("name", CASES)
def test_the_body_s_own_residual_reproduces_the_output(name: str, residual_after: int, photo: Path) -> None:
    model, forwards = calls_of(name, photo)
    body = Body(model.transformer, family_of(model.transformer, FAMILIES), residual_after)
    for forward in forwards:
        plain = forward()
        body.install()
        result, [computed] = run(body, forward, [], None)
        assert same(result, plain)
        residual = computed.output - computed.input
        for carry in carries(body, forward):
            assert same(run(body, forward, [], carry)[0], plain)
            again, [branch] = run(body, forward, [residual], carry)
            assert branch.reused or _extracts(forward)
            assert mx.allclose(again, plain, rtol=0, atol=1e-4)
        without, [branch] = run(body, forward, [mx.zeros_like(residual)], None)
        assert branch.reused != mx.allclose(without, plain, rtol=0, atol=1e-2)
        body.restore()


def _extracts(forward: Any) -> bool:
    call, place = forward.args
    return call.get("cache") is not None and place < 2


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "name",
    [name for name in those("qwen21", "qwen21-edit", "qwen21-edit-no-cache", "qwen21-controlnet") if name not in JOINT],
)
def test_a_reused_body_is_its_input_plus_the_residual(name: str, photo: Path) -> None:
    """Written out: embedded latents plus residual, the last norm and the projection."""
    model, forwards = calls_of(name, photo)
    transformer, forward = model.transformer, forwards[-1]
    latents = forward.args[0]["hidden_states"][:, -ROWS:]
    residual = mx.random.normal((1, ROWS, 32))
    body = Body(transformer, family_of(transformer, FAMILIES))
    body.install()
    run(body, forward, [], None)
    result, [branch] = run(body, forward, [residual], None)
    assert same(branch.output, transformer.img_in(latents) + residual)
    if name == "qwen21":
        time = transformer.time_text_embed(forward.args[0]["config"].scheduler.sigmas[1:2])
    else:
        time = transformer.time_text_embed(forward.args[0]["timestep"], mx.float32)
    scale = transformer.norm_out.linear(nn.silu(time))
    by_hand = transformer.proj_out(transformer.norm_out(branch.output, scale))
    assert mx.allclose(result, by_hand, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_plugin_sees_sigmas_latents_and_the_rows_of_each_branch(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    loop = Loop()
    model.callbacks.register(loop)
    plugin, made = kept(Watch)
    with attach(model, plugin) as handle:
        generate(model, **arguments)
    [watch] = made
    [image] = handle.stats.history
    assert [record.sigma for record in image.decisions] == pytest.approx(loop.sigmas, abs=1e-6)
    assert loop.sigmas == sorted(loop.sigmas, reverse=True)
    assert len(loop.latents) == len(watch.latents) + 1
    for seen, entered in zip(watch.latents, loop.latents, strict=False):
        assert same(seen, entered)
    rows = [[branch.input.shape[1] for branch in body.branches] for body in watch.bodies]
    assert [len(branches) for branches in rows] == BRANCHES[name]
    if name not in JOINT:  # there with the text
        assert {count for branches in rows for count in branches} == {ROWS}
    assert watch.branches == [None, *(len(branches) for branches in rows[:-1])]
    assert watch.targets[-1].active_steps == image.num_steps == len(rows)


class Wrapped:
    """What somebody put around a transformer's call, without telling."""

    count = 0

    def __call__(self, *args: Any, **kwargs: Any) -> mx.array:
        Wrapped.count += 1
        return super().__call__(*args, **kwargs)


@pytest.mark.parametrize("name", those("qwen21-guidance", "qwen21-padded", "qwen21-edit-guidance", "qwen21-controlnet"))
def test_a_transformer_that_was_wrapped_before_attach_is_skipped_like_another(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    with attach(model, Pattern):
        skipped = generate(model, **arguments)
    caller = caller_of(model)
    caller.__class__ = type(type(caller).__name__, (Wrapped, type(caller)), {})
    plain = generate(model, **arguments)
    Wrapped.count = 0
    with attach(model, Pattern) as handle:
        assert same(generate(model, **arguments), skipped)
    assert handle.stats.history[0].pattern == "CSCSC"
    assert Wrapped.count == 5 * BRANCHES[name][0]
    assert same(generate(model, **arguments), plain)


@pytest.mark.parametrize("name", those("qwen21", "qwen21-edit", "qwen21-controlnet"))
def test_the_memory_saver_frees_every_transformer_before_the_decode(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    modules = [weakref.ref(model.transformer), weakref.ref(caller_of(model))]
    alive: list[bool] = []
    with attach(model, ProbedPattern):
        model.callbacks.register(memory_saver(model))
        model.callbacks.register(
            SimpleNamespace(call_after_loop=lambda **_: alive.extend(each() is not None for each in modules))
        )
        generate(model, **arguments)
    assert alive == [False] * len(modules)


@pytest.mark.parametrize("name", those("qwen21", "qwen21-edit", "qwen21-controlnet"))
def test_restore_gives_every_module_its_class_back(name: str, photo: Path) -> None:
    model, _ = CASES[name].make(photo)

    def classes() -> list[type]:
        return [type(module) for each in (model.transformer, caller_of(model)) for module in each.modules()]

    before, attributes = classes(), set(vars(model))
    with attach(model, Observer):
        assert classes() != before
    assert classes() == before
    assert set(vars(model)) == attributes


@pytest.mark.parametrize(
    "name", those("qwen21-guidance", "qwen21-edit-guidance", "qwen21-edit-two-images", "qwen21-controlnet")
)
def test_first_block_cache_skips_and_computes(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    arguments["num_inference_steps"] = 8
    plain = generate(model, **arguments)
    with attach(model, "first-block-cache", thresh=0.0):
        assert same(generate(model, **arguments), plain)
    with attach(model, "first-block-cache", thresh=1.0 if name in JOINT else 1.1) as handle:
        assert not same(generate(model, **arguments), plain)
    pattern = handle.stats.history[0].pattern
    assert pattern[:2] == "CS"  # the step that fills the cache leaves a residual that fits the next
    assert set(pattern[2:]) == {"C", "S"}
