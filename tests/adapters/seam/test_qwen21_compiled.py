"""Qwen-Image 2.1 compiles parts of its transformer itself, and keeps them on it: ours stand there during an image."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qwen21 import CASES, calls_of, entered_by, those
from recording import seen_by
from strategies import (
    Observer,
    Pattern,
    PatternAfterFirstBlock,
    ProbedPattern,
    ProbedPatternAfterFirstBlock,
    ReadsEverything,
)
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.errors import UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")

COMPILED = ("_step_fn", "_image_step_fn")  # where the transformer keeps what it compiles
# How often Python runs each block in an image of two branches, however many steps it has: while a computed step of
# each is traced; block 0 also while a probe that reads its residual is, and while steps that skip only the others are.
TRACED = {
    Observer: [2, 2, 2, 2],
    ReadsEverything: [1 + 1, 2, 2, 2],  # the first branch runs on from block 0's output
    Pattern: [2, 2, 2, 2],
    ProbedPattern: [2, 2, 2, 2],
    PatternAfterFirstBlock: [2 + 2, 2, 2, 2],
}


def kept_by(transformer: Any) -> list[Any]:
    """What the transformer has compiled and keeps: in mflux up to 0.22 also from one image to the next."""
    return [vars(transformer).get(kept) for kept in COMPILED]


@pytest.mark.parametrize("plugin", TRACED)
@pytest.mark.parametrize("name", ["qwen21-guidance", "qwen21-padded"])
def test_text_to_image_stays_compiled(name: str, plugin: type, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    seen = [seen_by(block, entered_by(name)) for block in model.transformer.transformer_blocks]
    generate(model, **arguments)
    assert [len(calls) for calls in seen] == [2] * 4  # two branches of different lengths of text
    kept = kept_by(model.transformer)
    for steps in (3, 8):
        for calls in seen:
            calls.clear()
        with attach(model, plugin):
            generate(model, **{**arguments, "num_inference_steps": steps})
        assert [len(calls) for calls in seen] == TRACED[plugin]
    assert kept_by(model.transformer) == kept


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
    kept = kept_by(model.transformer)

    def fail(**_: Any) -> None:
        raise RuntimeError("full")

    model.callbacks.register(listener := SimpleNamespace(call_in_loop=fail))
    with attach(model, Pattern):
        with pytest.raises(RuntimeError, match="full"):
            generate(model, **arguments)
        assert kept_by(model.transformer) == kept
    model.callbacks.in_loop.remove(listener)
    assert same(generate(model, **arguments), plain)


def _forget(transformer: Any) -> None:
    """Leave nothing compiled."""
    for attribute in COMPILED:
        if hasattr(transformer, attribute):
            setattr(transformer, attribute, None)


def test_a_transformer_that_is_called_outside_of_a_generation_is_mflux_s_own(photo: Path) -> None:
    model, [forward, *_] = calls_of("qwen21", photo)
    plain = forward()
    _forget(model.transformer)
    with attach(model, Pattern):
        assert same(forward(), plain)


def test_what_mflux_has_compiled_is_not_called_while_an_image_is_made(photo: Path) -> None:
    """Up to 0.22 it keeps that for the next image."""
    model, [forward, *_] = calls_of("qwen21-guidance", photo)
    _, arguments = CASES["qwen21-guidance"].make(photo)
    plain = generate(model, **arguments)
    with attach(model, Pattern) as handle:
        _forget(model.transformer)
        forward()
        assert any(kept_by(model.transformer))
        assert not same(generate(model, **arguments), plain)
    assert handle.stats.history[0].pattern == "CSCSC"
    assert same(generate(model, **arguments), plain)


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
