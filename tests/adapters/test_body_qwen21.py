"""Qwen-Image 2.1: blocks that are entered by other methods, and compiled inside, or that a ControlNet calls."""

from __future__ import annotations

import functools
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from all_cases import cases_of
from installed import MFLUX
from mflux.models.qwen21.model.qwen21_transformer import qwen21_transformer
from mlx import nn
from recording import Loop, Watch, carries, seen_by
from strategies import (
    Observer,
    Pattern,
    PatternAfterFirstBlock,
    ProbedPattern,
    ProbedPatternAfterFirstBlock,
    ReadsEverything,
    kept,
)
from tiny_models import generate, memory_saver, same

from mflux_teacache import attach
from mflux_teacache.adapters.body import Body
from mflux_teacache.adapters.families import FAMILIES, family_of
from mflux_teacache.adapters.pipelines import PIPELINES, refuse_partly
from mflux_teacache.errors import UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")

CASES = cases_of("cases_qwen21", "cases_qwen21_edit", "cases_qwen21_controlnet")
TEXT_TO_IMAGE = [name for name in CASES if not name.startswith(("qwen21-edit", "qwen21-controlnet"))]
# mflux keeps text that is not padded out of the body: from the release on that brought the edit.
JOINT = TEXT_TO_IMAGE if MFLUX < (0, 21) else ["qwen21-padded"]
ROWS = 16  # of the image, 64x64 pixels
COMPILED = ("_step_fn", "_image_step_fn")  # where the transformer keeps what it compiles


def those(*names: str) -> list[str]:
    """Of these cases, the ones that the installed mflux has."""
    return [name for name in names if name in CASES]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that a test records must not be traced ones."""
    core = SimpleNamespace(**{**vars(mx), "compile": lambda function: function})
    monkeypatch.setattr(qwen21_transformer, "mx", core)


def _caller(model: Any) -> Any:
    """What the pipeline calls for a prediction."""
    return getattr(model, "controlnet", model.transformer)


def _method(name: str) -> str:
    """Of a block, by which it is entered."""
    if name in JOINT:
        return "__call__"
    return "image_forward" if name in TEXT_TO_IMAGE else "forward_reference"


ATTENTION = {"__call__": "__call__", "image_forward": "image_attention", "forward_reference": "forward_reference"}


def _calls(name: str, photo: Path) -> tuple[Any, list[Callable[[], Any]]]:
    """A pipeline, and its calls for the predictions of the first two steps; a cache to be filled is filled anew."""
    model, arguments = CASES[name].make(photo)
    caller, cls = _caller(model), type(_caller(model))
    calls = seen_by(caller)
    generate(model, num_inference_steps=6 if "img2img" in name else 3, **arguments)
    caller.__class__ = cls
    branches = 2 if "guidance" in arguments else 1

    def forward(call: dict[str, Any], place: int) -> Any:
        fills = call.get("cache") is not None and place < branches
        return caller(**{**call, "cache": []} if fills else call)

    return model, [functools.partial(forward, call, place) for place, call in enumerate(calls[: 2 * branches])]


def _image(stream: mx.array, name: str) -> mx.array:
    """The image's rows, which come last; all of them take part where the text is in the body."""
    return stream if name in TEXT_TO_IMAGE else stream[:, -ROWS:]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", CASES)
def test_the_signal_is_what_block_0_hands_to_its_attention(name: str, photo: Path) -> None:
    model, forwards = _calls(name, photo)
    body = Body(model.transformer, family_of(model.transformer, FAMILIES))
    body.install()
    seen = seen_by(model.transformer.transformer_blocks[0].attn, ATTENTION[_method(name)])
    for forward in forwards:
        signal = body.probe(forward, first_block=True).modulated_input
        assert same(signal, _image(next(iter(seen[-1].values())), name))
        assert signal.shape[1] == ROWS or name in JOINT


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("residual_after", [0, 1, 2])
@pytest.mark.parametrize("name", CASES)
def test_the_body_s_own_residual_reproduces_the_output(name: str, residual_after: int, photo: Path) -> None:
    model, forwards = _calls(name, photo)
    body = Body(model.transformer, family_of(model.transformer, FAMILIES), residual_after)
    for forward in forwards:
        plain = forward()
        body.install()
        result, [computed] = body.run(forward, [], None)
        assert same(result, plain)
        residual = computed.output - computed.input
        for carry in carries(body, forward):
            assert same(body.run(forward, [], carry)[0], plain)
            again, [branch] = body.run(forward, [residual], carry)
            assert branch.reused or _extracts(forward)
            assert mx.allclose(again, plain, rtol=0, atol=1e-4)
        without, [branch] = body.run(forward, [mx.zeros_like(residual)], None)
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
    model, forwards = _calls(name, photo)
    transformer, forward = model.transformer, forwards[-1]
    latents = forward.args[0]["hidden_states"][:, -ROWS:]
    residual = mx.random.normal((1, ROWS, 32))
    body = Body(transformer, family_of(transformer, FAMILIES))
    body.install()
    body.run(forward, [], None)
    result, [branch] = body.run(forward, [residual], None)
    assert same(branch.output, transformer.img_in(latents) + residual)
    if name == "qwen21":
        time = transformer.time_text_embed(forward.args[0]["config"].scheduler.sigmas[1:2])
    else:
        time = transformer.time_text_embed(forward.args[0]["timestep"], mx.float32)
    scale = transformer.norm_out.linear(nn.silu(time))
    by_hand = transformer.proj_out(transformer.norm_out(branch.output, scale))
    assert mx.allclose(result, by_hand, rtol=0, atol=1e-4)


# Branches of each of five steps; image-to-image starts after two of them.
BRANCHES = {name: [2 if "guidance" in name else 1] * 5 for name in CASES} | {
    "qwen21-padded": [2] * 5,
    "qwen21-img2img": [2] * 3,
    "qwen21-edit-img2img": [2] * 3,
    "qwen21-edit-no-cache": [2] * 5,
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


# How often Python runs each block in an image of two branches, however many steps it has: while a computed step of
# each is traced; block 0 also while a probe that reads its residual is, and while steps that skip only the others are.
TRACED = {
    Observer: [2, 2, 2, 2],
    ReadsEverything: [1 + 1, 2, 2, 2],  # the first branch runs on from block 0's output
    Pattern: [2, 2, 2, 2],
    ProbedPattern: [2, 2, 2, 2],
    PatternAfterFirstBlock: [2 + 2, 2, 2, 2],
}


def nothing_compiled(transformer: Any) -> bool:
    return all(getattr(transformer, kept, None) is None for kept in COMPILED)


@pytest.mark.parametrize("plugin", TRACED)
@pytest.mark.parametrize("name", ["qwen21-guidance", "qwen21-padded"])
def test_text_to_image_stays_compiled(name: str, plugin: type, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    seen = [seen_by(block, _method(name)) for block in model.transformer.transformer_blocks]
    generate(model, **arguments)
    assert [len(calls) for calls in seen] == [2] * 4  # two branches of different lengths of text
    for steps in (3, 8):
        for calls in seen:
            calls.clear()
        with attach(model, plugin):
            generate(model, **{**arguments, "num_inference_steps": steps})
        assert [len(calls) for calls in seen] == TRACED[plugin]
    assert nothing_compiled(model.transformer)


@pytest.mark.parametrize("plugin", [Observer, ReadsEverything, Pattern, ProbedPattern, ProbedPatternAfterFirstBlock])
@pytest.mark.parametrize("name", those("qwen21-guidance", "qwen21-edit-guidance", "qwen21-controlnet"))
def test_an_image_does_not_depend_on_the_one_before(name: str, plugin: type, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    with attach(model, plugin):
        alone = generate(model, **{**arguments, "prompt": "green pears"})
    with attach(model, plugin):
        first = generate(model, **{**arguments, "prompt": "a red apple"})  # as long: nothing is traced anew for it
        assert same(generate(model, **{**arguments, "prompt": "green pears"}), alone)
    assert not same(first, alone)


@pytest.mark.parametrize("name", ["qwen21-guidance", "qwen21-padded"])
def test_a_generation_that_fails_leaves_no_compiled_function(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    plain = generate(model, **arguments)

    def fail(**_: Any) -> None:
        raise RuntimeError("full")

    model.callbacks.register(listener := SimpleNamespace(call_in_loop=fail))
    with attach(model, Pattern):
        with pytest.raises(RuntimeError, match="full"):
            generate(model, **arguments)
        assert nothing_compiled(model.transformer)
    model.callbacks.in_loop.remove(listener)
    assert same(generate(model, **arguments), plain)


def _forget(transformer: Any) -> None:
    """Leave nothing compiled."""
    for attribute in COMPILED:
        if hasattr(transformer, attribute):
            setattr(transformer, attribute, None)


def test_a_transformer_that_is_called_outside_of_a_generation_is_mflux_s_own(photo: Path) -> None:
    model, [forward, *_] = _calls("qwen21", photo)
    plain = forward()
    _forget(model.transformer)
    with attach(model, Pattern):
        assert same(forward(), plain)


def test_what_mflux_has_compiled_is_not_called_while_an_image_is_made(photo: Path) -> None:
    """Up to 0.22 it keeps that for the next image."""
    model, [forward, *_] = _calls("qwen21-guidance", photo)
    _, arguments = CASES["qwen21-guidance"].make(photo)
    plain = generate(model, **arguments)
    with attach(model, Pattern) as handle:
        _forget(model.transformer)
        forward()
        assert not nothing_compiled(model.transformer)
        assert not same(generate(model, **arguments), plain)
    assert handle.stats.history[0].pattern == "CSCSC"
    assert same(generate(model, **arguments), plain)


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
    caller = _caller(model)
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
    modules = [weakref.ref(model.transformer), weakref.ref(_caller(model))]
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
        return [type(module) for each in (model.transformer, _caller(model)) for module in each.modules()]

    before, attributes = classes(), set(vars(model))
    with attach(model, Observer):
        assert classes() != before
    assert classes() == before
    assert set(vars(model)) == attributes


# A newer mflux


def refused(model: Any, message: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"^Qwen21Transformer{message}, which the entry for qwen21 names"):
        attach(model, Observer)


def test_a_compiled_part_by_another_name_is_named(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = CASES["qwen21"].make(photo)
    cls = type(model.transformer)
    with monkeypatch.context() as newer:
        newer.delattr(cls, "_forward")
        refused(model, " has '_step_fn', but no '_forward'")
    for attribute in filter(functools.partial(hasattr, model.transformer), COMPILED):
        delattr(model.transformer, attribute)
    refused(model, " has '_forward', but no '_step_fn'")
    for method in ("_forward", "_image_forward"):
        monkeypatch.delattr(cls, method, raising=False)
    refused(model, " has no method '_forward' or '_image_forward'")


@pytest.mark.parametrize(
    ("forward", "missing"),
    [
        (lambda self, hidden_states, time: None, "'timestep_rows' (it has hidden_states, time)"),
        (lambda self, latents, timestep: None, "'hidden_states' (it has latents, timestep)"),
    ],
)
def test_a_renamed_argument_of_a_compiled_part(
    forward: Any, missing: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = CASES["qwen21"].make(photo)
    monkeypatch.setattr(type(model.transformer), "_forward", forward)
    refused(model, re.escape(f"._forward has no argument {missing}"))


# mflux's own step reuse

HAS_STEP_REUSE = pytest.mark.skipif(MFLUX < (0, 21), reason="this mflux does not reuse steps of Qwen-Image 2.1 itself")


@HAS_STEP_REUSE
@pytest.mark.parametrize("option", ["step_cache_ratio", "teacache_ratio"])
def test_a_deciding_plugin_refuses_mflux_s_own_step_reuse(option: str, photo: Path) -> None:
    model, arguments = CASES["qwen21-guidance"].make(photo)
    message = f"which would reuse what it reused: {option}=0.25 asks for it. Turn it off"
    with attach(model, Pattern) as handle:
        with pytest.raises(UnsupportedModel, match=message):
            generate(model, **{option: 0.25}, **arguments)
        generate(model, **arguments)
    assert handle.stats.generations == 1


@HAS_STEP_REUSE
def test_an_observer_sees_the_steps_that_mflux_s_own_step_reuse_leaves(photo: Path) -> None:
    model, arguments = CASES["qwen21-guidance"].make(photo)
    arguments |= {"step_cache_ratio": 0.3, "num_inference_steps": 10}
    plain = generate(model, **arguments)
    plugin, made = kept(Watch)
    with attach(model, plugin) as handle:
        assert same(generate(model, **arguments), plain)
    assert handle.stats.history[0].pattern == "C" * 7
    assert [step.index for step in made[0].steps][::6] == [0, 9]  # mflux computes the first and the last steps


def test_step_reuse_is_refused_before_there_is_a_model() -> None:
    for name, option in (("QwenImage21", "step_cache_ratio"), ("QwenImage21Edit", "use_step_cache")):
        with pytest.raises(UnsupportedModel, match=f"plugins run on the pipeline {name}, but no"):
            refuse_partly(PIPELINES[name], {option: 0.5}, deciding=True)
        refuse_partly(PIPELINES[name], {option: None}, deciding=True)


# The built-in strategies


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
