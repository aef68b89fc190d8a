"""Qwen-Image 2.1: blocks that are entered by other methods, compiled inside, that fill a cache or run beside others."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cases_qwen21
import mlx.core as mx
import pytest
from cases_qwen21 import CASES
from mflux.callbacks.instances.memory_saver import MemorySaver
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
from tiny_models import generate, same

from mflux_teacache import Refused, attach
from mflux_teacache.adapters.body import Body
from mflux_teacache.adapters.families import FAMILIES, QWEN21_EDIT, family_of
from mflux_teacache.adapters.forward import with_core
from mflux_teacache.adapters.pipelines import PIPELINES, refuse_partly
from mflux_teacache.errors import UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")

ROWS = 16  # of the image, 64x64 pixels


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
    if name == "qwen21-padded":
        return "__call__"
    return "image_forward" if name in TEXT_TO_IMAGE else "forward_reference"


TEXT_TO_IMAGE = [name for name in CASES if not name.startswith(("qwen21-edit", "qwen21-controlnet"))]
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
    """The image's rows, which come last; all of them take part where a prompt is padded."""
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
        assert signal.shape[1] == ROWS or name == "qwen21-padded"


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
@pytest.mark.parametrize("name", ["qwen21", "qwen21-edit", "qwen21-edit-no-cache", "qwen21-controlnet"])
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


@pytest.mark.parametrize("residual_after", [0, 1])
@pytest.mark.parametrize("first_block", [None, False, True])
def test_a_call_that_fills_the_cache_runs_every_block(residual_after: int, first_block: bool | None) -> None:
    model = cases_qwen21.qwen21_edit()
    call = _call_of_edit(model)
    plain_cache: list[Any] = []
    plain = model.transformer(**call, cache=plain_cache)
    body = Body(model.transformer, QWEN21_EDIT, residual_after)
    body.install()
    _, [computed] = body.run(lambda: model.transformer(**call, cache=[]), [], None)
    cache: list[Any] = []
    forward = lambda: model.transformer(**call, cache=cache)  # noqa: E731
    carry = None if first_block is None else body.probe(forward, first_block=first_block).carry()
    assert cache == []
    result, [branch] = body.run(forward, [mx.zeros_like(computed.input)], carry)
    assert not branch.reused
    assert same(result, plain)
    assert len(cache) == 4
    for kv, plain_kv in zip(cache, plain_cache, strict=True):
        assert all(same(*pair) for pair in zip(kv, plain_kv, strict=True))
    # The residual is of the image's rows: it fits the passes that follow, which leave out all others.
    again, [branch] = body.run(forward, [computed.output - computed.input], None)
    assert branch.reused
    assert mx.allclose(again, plain, rtol=0, atol=1e-4)


def _call_of_edit(model: Any) -> dict[str, Any]:
    layout = qwen21_transformer.QwenImage21Layout.create(mx.zeros((5,)), [(1, 4, 4)], model.transformer.axes)
    random = mx.random.normal
    return {
        "hidden_states": random((1, ROWS, 64)),
        "encoder_hidden_states": random((1, 5, 12)),
        "timestep": mx.array([0.5]),
        "layout": layout,
    }


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
    if name != "qwen21-padded":  # there with the text, which takes part
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
    assert model.transformer._image_step_fn is None
    assert model.transformer._step_fn is None


@pytest.mark.parametrize("plugin", [Observer, ReadsEverything, Pattern, ProbedPattern, ProbedPatternAfterFirstBlock])
@pytest.mark.parametrize("name", ["qwen21-guidance", "qwen21-edit-guidance", "qwen21-controlnet"])
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
        assert model.transformer._image_step_fn is None
        assert model.transformer._step_fn is None
    model.callbacks.in_loop.remove(listener)
    assert same(generate(model, **arguments), plain)


def test_a_transformer_that_is_called_outside_of_a_generation_is_mflux_s_own(photo: Path) -> None:
    model, [forward, *_] = _calls("qwen21", photo)
    plain = forward()
    model.transformer._clear_inference_projections()  # forget what it compiled
    with attach(model, Pattern):
        assert same(forward(), plain)


@pytest.mark.parametrize("name", ["qwen21", "qwen21-edit", "qwen21-controlnet"])
def test_the_memory_saver_frees_every_transformer_before_the_decode(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    modules = [weakref.ref(model.transformer), weakref.ref(_caller(model))]
    alive: list[bool] = []
    with attach(model, ProbedPattern):
        model.callbacks.register(MemorySaver(model, keep_transformer=False, cache_limit_bytes=None))
        model.callbacks.register(
            SimpleNamespace(call_after_loop=lambda **_: alive.extend(each() is not None for each in modules))
        )
        generate(model, **arguments)
    assert alive == [False] * len(modules)


@pytest.mark.parametrize("name", ["qwen21", "qwen21-edit", "qwen21-controlnet"])
def test_restore_gives_every_module_its_class_back(name: str, photo: Path) -> None:
    model, _ = CASES[name].make(photo)

    def classes() -> list[type]:
        return [type(module) for each in (model.transformer, _caller(model)) for module in each.modules()]

    before, attributes = classes(), set(vars(model))
    with attach(model, Observer):
        assert classes() != before
    assert classes() == before
    assert set(vars(model)) == attributes


# ControlNet


def _control_work(model: Any) -> list[tuple[mx.array, mx.array]]:
    """What the control blocks hand to the body, from now on, each after what it is made of."""
    made: list[tuple[mx.array, mx.array]] = []

    class Projection(nn.Linear):
        def __call__(self, x: mx.array) -> mx.array:
            made.append((x, super().__call__(x)))
            return made[-1][1]

    for block in model.controlnet.control_blocks:
        block.after_proj.__class__ = Projection
    return made


def _evaluated(work: tuple[mx.array, mx.array]) -> bool:
    """Evaluating an array takes memory, unless what it is made of goes at the same time."""
    before = mx.get_active_memory()
    mx.eval(work[1])
    return mx.get_active_memory() == before


class AfterTwoBlocks(Pattern):
    residual_after = 2


# Of the two control blocks, which a skipped step needs: the one that adds to a block that runs and is not the last
# of those, and the one that adds to what the last block returns.
NEEDED = [
    (Pattern, (0, 2), [False, False]),
    (Pattern, (0, 3), [False, True]),
    (PatternAfterFirstBlock, (0, 2), [False, False]),
    (PatternAfterFirstBlock, (0, 3), [False, True]),
    (AfterTwoBlocks, (0, 2), [True, False]),
    (ProbedPattern, (0, 2), [False, False]),
    (ProbedPattern, (0, 3), [False, True]),
]


@pytest.mark.parametrize(("plugin", "control_layers", "needed"), NEEDED)
def test_control_blocks_that_a_skipped_step_does_not_need_are_not_evaluated(
    plugin: type, control_layers: tuple[int, ...], needed: list[bool], photo: Path
) -> None:
    model = cases_qwen21.qwen21_controlnet(control_layers)
    _, arguments = CASES["qwen21-controlnet"].make(photo)
    work = _control_work(model)
    with attach(model, plugin) as handle:
        generate(model, **{**arguments, "num_inference_steps": 3})
    assert handle.stats.history[0].pattern == "CSC"
    evaluated = [_evaluated(each) for each in work]
    probed = [False, False] if plugin is ProbedPattern else []
    assert evaluated == [*probed, True, True, *probed, *needed, *probed, True, True]


@pytest.mark.parametrize("residual_after", [0, 1, 2])
def test_a_control_that_adds_to_the_last_block_s_output_is_added_on_a_skipped_step(residual_after: int) -> None:
    model = cases_qwen21.qwen21_controlnet((0, 3))
    control = mx.random.normal((1, ROWS, 129))
    call = {"transformer": model.transformer, **_call_of_edit(model), "control_context": control}
    body = Body(model.transformer, QWEN21_EDIT, residual_after)
    body.install()
    forward = functools.partial(with_core(type(model.controlnet).__call__, eval=body.evaluate), model.controlnet)
    plain, [computed] = body.run(lambda: forward(**call), [], None)
    again, [branch] = body.run(lambda: forward(**call), [computed.output - computed.input], None)
    assert branch.reused
    assert mx.allclose(again, plain, rtol=0, atol=1e-4)
    weaker, _ = body.run(lambda: forward(**call, control_scale=0.5), [computed.output - computed.input], None)
    assert not mx.allclose(weaker, plain, rtol=0, atol=1e-2)


def test_a_misfit_is_evaluated_on_the_way_like_a_computed_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model = cases_qwen21.qwen21_controlnet()
    call = {
        "transformer": model.transformer,
        **_call_of_edit(model),
        "control_context": mx.random.normal((1, ROWS, 129)),
    }
    body = Body(model.transformer, QWEN21_EDIT)
    body.install()
    evaluated: list[int] = []
    evaluate = mx.eval
    monkeypatch.setattr(mx, "eval", lambda *arrays: (evaluated.append(len(arrays)), evaluate(*arrays)))
    forward = functools.partial(with_core(type(model.controlnet).__call__, eval=body.evaluate), model.controlnet)
    counts = []
    residuals = {"computed": [], "misfit": [mx.zeros((1, 3, 32))], "reused": [mx.zeros((1, ROWS, 32))]}
    for residual in residuals.values():
        evaluated.clear()
        body.run(lambda: forward(**call), residual, None)
        counts.append(len(evaluated))
    assert counts == [2 + 4, 4, 0]


# mflux's own step reuse


@pytest.mark.parametrize("option", ["step_cache_ratio", "teacache_ratio"])
def test_a_deciding_plugin_refuses_mflux_s_own_step_reuse(option: str, photo: Path) -> None:
    model, arguments = CASES["qwen21-guidance"].make(photo)
    message = f"which would reuse what it reused: {option}=0.25 asks for it. Turn it off"
    with attach(model, Pattern) as handle:
        with pytest.raises(UnsupportedModel, match=message):
            generate(model, **{option: 0.25}, **arguments)
        generate(model, **arguments)
    assert handle.stats.generations == 1


def test_an_observer_sees_the_steps_that_mflux_s_own_step_reuse_leaves(photo: Path) -> None:
    model, arguments = CASES["qwen21-guidance"].make(photo)
    arguments |= {"step_cache_ratio": 0.3, "num_inference_steps": 10}
    plain = generate(model, **arguments)
    plugin, made = kept(Watch)
    with attach(model, plugin) as handle:
        assert same(generate(model, **arguments), plain)
    assert handle.stats.history[0].pattern == "C" * 7
    assert [step.index for step in made[0].steps][::6] == [0, 9]  # mflux computes the first and the last steps


@pytest.mark.parametrize("plugin", [Observer, Pattern])
def test_the_edit_s_own_step_cache_is_refused_to_every_plugin(plugin: type, photo: Path) -> None:
    """It leaves the blocks after the first one, so nobody sees what the body returns."""
    model, arguments = CASES["qwen21-edit"].make(photo)
    message = "but not with mflux's own step cache, which leaves the blocks after the first one: use_step_cache=True"
    with attach(model, plugin) as handle:
        with pytest.raises(UnsupportedModel, match=message):
            generate(model, use_step_cache=True, **arguments)
        generate(model, use_step_cache=False, **arguments)
    assert handle.stats.generations == 1


def test_step_reuse_is_refused_before_there_is_a_model() -> None:
    for name, option in (("QwenImage21", "step_cache_ratio"), ("QwenImage21Edit", "use_step_cache")):
        with pytest.raises(UnsupportedModel, match=f"plugins run on the pipeline {name}, but no"):
            refuse_partly(PIPELINES[name], {option: 0.5}, deciding=True)
        refuse_partly(PIPELINES[name], {option: None}, deciding=True)


# The built-in strategies, and what else the pipelines do


@pytest.mark.parametrize(
    "name", ["qwen21-guidance", "qwen21-edit-guidance", "qwen21-edit-two-images", "qwen21-controlnet"]
)
def test_first_block_cache_skips_and_computes(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    arguments["num_inference_steps"] = 8
    plain = generate(model, **arguments)
    with attach(model, "first-block-cache", thresh=0.0):
        assert same(generate(model, **arguments), plain)
    with attach(model, "first-block-cache", thresh=1.1) as handle:
        assert not same(generate(model, **arguments), plain)
    pattern = handle.stats.history[0].pattern
    assert pattern[:2] == "CS"  # the step that fills the cache leaves a residual that fits the next
    assert set(pattern[2:]) == {"C", "S"}


def test_teacache_wants_a_calibration(photo: Path) -> None:
    model, arguments = CASES["qwen21-edit"].make(photo)
    with pytest.raises(Refused, match="TeaCache has no calibration for Qwen/Qwen-Image-2.1"):
        attach(model, "teacache")
    with attach(model, "teacache", coefficients=(1.0, 0.0), thresh=0.3) as handle:
        generate(model, **arguments)
    assert handle.stats.history[0].pattern.startswith("CS")


def test_an_edit_that_calls_itself_again_is_another_image(photo: Path) -> None:
    model, arguments = CASES["qwen21-edit"].make(photo)
    model._verify_output = lambda *_: {"verified": False}
    again = generate(model, **{**arguments, "seed": 2})
    with attach(model, Observer) as handle:
        generate(model, verify=True, verify_retries=1, **arguments)
        assert [image.seed for image in handle.stats.history] == [1, 2]
        assert same(generate(model, **{**arguments, "seed": 2}), again)
    assert [image.pattern for image in handle.stats.history] == ["CCCCC"] * 3
