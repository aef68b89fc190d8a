"""Qwen-Image 2.1 with its ControlNet: blocks that run beside those of the body, and are evaluated on the way."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from cases_qwen21_controlnet import CASES, qwen21_controlnet
from cases_qwen21_edit import call_for_a_prediction
from mlx import nn
from recording import run
from strategies import Pattern, PatternAfterFirstBlock, ProbedPattern
from tiny_models import generate

from mflux_teacache import attach
from mflux_teacache.adapters.families import QWEN21_EDIT
from mflux_teacache.adapters.seam.compiled import deferring
from mflux_teacache.adapters.seam.image import Body

pytestmark = pytest.mark.usefixtures("tiny")

ROWS = 16  # of the image, 64x64 pixels


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
    model = qwen21_controlnet(control_layers)
    _, arguments = CASES["qwen21-controlnet"].make(photo)
    work = _control_work(model)
    with attach(model, plugin) as handle:
        generate(model, **{**arguments, "num_inference_steps": 3})
    assert handle.stats.history[0].pattern == "CSC"
    assert [_evaluated(each) for each in work] == [True, True, *needed, True, True]


@pytest.mark.parametrize("residual_after", [0, 1, 2])
def test_a_control_that_adds_to_the_last_block_s_output_is_added_on_a_skipped_step(residual_after: int) -> None:
    model = qwen21_controlnet((0, 3))
    control = mx.random.normal((1, ROWS, 129))
    call = {"transformer": model.transformer, **call_for_a_prediction(model), "control_context": control}
    body = Body(model.transformer, QWEN21_EDIT, residual_after)
    body.install()
    forward = functools.partial(deferring(body.here, type(model.controlnet).__call__), model.controlnet)
    plain, [computed] = run(body, lambda: forward(**call), [], None)
    again, [branch] = run(body, lambda: forward(**call), [computed.output - computed.input], None)
    assert branch.reused
    assert mx.allclose(again, plain, rtol=0, atol=1e-4)
    weaker, _ = run(body, lambda: forward(**call, control_scale=0.5), [computed.output - computed.input], None)
    assert not mx.allclose(weaker, plain, rtol=0, atol=1e-2)


def test_a_misfit_is_evaluated_on_the_way_like_a_computed_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arrays come before block 0; what is put off there is known to be needed when the residual does not fit."""
    model = qwen21_controlnet()
    call = {
        "transformer": model.transformer,
        **call_for_a_prediction(model),
        "control_context": mx.random.normal((1, ROWS, 129)),
    }
    body = Body(model.transformer, QWEN21_EDIT)
    body.install()
    evaluated: list[int] = []
    evaluate = mx.eval
    monkeypatch.setattr(mx, "eval", lambda *arrays: (evaluated.append(len(arrays)), evaluate(*arrays)))
    forward = functools.partial(deferring(body.here, type(model.controlnet).__call__), model.controlnet)
    counts = []
    residuals = {"computed": [], "misfit": [mx.zeros((1, 3, 32))], "reused": [mx.zeros((1, ROWS, 32))]}
    for residual in residuals.values():
        evaluated.clear()
        run(body, lambda: forward(**call), residual, None)
        counts.append(len(evaluated))
    assert counts == [2 + 4, 2 + 4, 0]
