"""Qwen-Image 2.1 edit: blocks that fill a cache of keys and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from cases_qwen21_edit import CASES, call_for_a_prediction, qwen21_edit
from recording import run
from strategies import Observer, Pattern
from tiny_models import generate, same

from mflux_teacache import Refused, attach
from mflux_teacache.adapters.families import QWEN21_EDIT
from mflux_teacache.adapters.seam.compiled import probe
from mflux_teacache.adapters.seam.image import Body
from mflux_teacache.errors import UnsupportedModel

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.parametrize("residual_after", [0, 1])
@pytest.mark.parametrize("first_block", [None, False, True])
def test_a_call_that_fills_the_cache_runs_every_block(residual_after: int, first_block: bool | None) -> None:
    model = qwen21_edit()
    call = call_for_a_prediction(model)
    plain_cache: list[Any] = []
    plain = model.transformer(**call, cache=plain_cache)
    body = Body(model.transformer, QWEN21_EDIT, residual_after)
    body.install()
    _, [computed] = run(body, lambda: model.transformer(**call, cache=[]), [], None)
    cache: list[Any] = []
    forward = lambda: model.transformer(**call, cache=cache)  # noqa: E731
    carry = None if first_block is None else probe(body, forward, first_block=first_block).carry
    assert cache == []
    result, [branch] = run(body, forward, [mx.zeros_like(computed.input)], carry)
    assert not branch.reused
    assert same(result, plain)
    assert len(cache) == 4
    for kv, plain_kv in zip(cache, plain_cache, strict=True):
        assert all(same(*pair) for pair in zip(kv, plain_kv, strict=True))
    # The residual is of the image's rows: it fits the passes that follow, which leave out all others.
    again, [branch] = run(body, forward, [computed.output - computed.input], None)
    assert branch.reused
    assert mx.allclose(again, plain, rtol=0, atol=1e-4)


@pytest.mark.parametrize("plugin", [Observer, Pattern])
def test_the_edit_s_own_step_cache_is_refused_to_every_plugin(plugin: type, photo: Path) -> None:
    """It leaves the blocks after the first one, so nobody sees what the body returns."""
    model, arguments = CASES["qwen21-edit"].make(photo)
    with attach(model, plugin) as handle:
        with pytest.raises(UnsupportedModel, match="use_step_cache=True"):
            generate(model, use_step_cache=True, **arguments)
        generate(model, use_step_cache=False, **arguments)
    assert handle.stats.generations == 1


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
