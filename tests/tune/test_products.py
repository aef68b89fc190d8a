"""Inner products of outputs, with guidance applied as the latents show it."""

from __future__ import annotations

import numpy as np
import pytest

from mflux_teacache.tune.products import inner_products

STEPS, ROWS, WIDTH, GUIDANCE = 7, 3, 4, 2.5
SIGMAS = [1 - step / STEPS for step in range(STEPS)]
CHANCE = np.random.default_rng(1)
EMPTY, PROMPT = CHANCE.normal(size=(2, STEPS, 1, ROWS, WIDTH))
GUIDED = EMPTY + GUIDANCE * (PROMPT - EMPTY)


def moved_by(outputs: np.ndarray) -> list[np.ndarray]:
    """The latents that enter each step of Euler's method."""
    moves = np.diff([*SIGMAS, 0.0])[:, None, None, None] * outputs
    return list(CHANCE.normal(size=(1, ROWS, WIDTH)) + np.concatenate([0 * moves[:1], np.cumsum(moves, axis=0)[:-1]]))


def products(outputs: np.ndarray) -> np.ndarray:
    flat = outputs.reshape(STEPS, -1)
    return flat @ flat.T


@pytest.mark.parametrize("order", [1, -1], ids=["empty first", "prompt first"])
def test_guidance_is_found_whatever_the_order_of_the_branches(order: int) -> None:
    outputs = [list(pair)[::order] for pair in zip(EMPTY, PROMPT, strict=True)]
    assert inner_products(outputs, moved_by(GUIDED), SIGMAS) == pytest.approx(products(GUIDED))


def test_a_batch_of_branches_is_taken_apart() -> None:
    outputs = [[np.concatenate(pair)] for pair in zip(EMPTY, PROMPT, strict=True)]
    assert inner_products(outputs, moved_by(GUIDED), SIGMAS) == pytest.approx(products(GUIDED))


def test_a_sign_that_mflux_turns_is_found() -> None:
    outputs = [[-output] for output in PROMPT]
    assert inner_products(outputs, moved_by(PROMPT), SIGMAS) == pytest.approx(products(PROMPT))


def test_guidance_may_end_before_the_run() -> None:
    until = 4
    outputs = [
        [empty, prompt] if step < until else [prompt]
        for step, (empty, prompt) in enumerate(zip(EMPTY, PROMPT, strict=True))
    ]
    run = np.concatenate([GUIDED[:until], PROMPT[until:]])
    assert inner_products(outputs, moved_by(run), SIGMAS) == pytest.approx(products(run))


@pytest.mark.parametrize("sigmas", [SIGMAS, None])
def test_where_outputs_are_not_like_latents_branches_count_alike(sigmas: list[float] | None) -> None:
    outputs = [[empty[:, :2], prompt[:, :2]] for empty, prompt in zip(EMPTY, PROMPT, strict=True)]
    alike = products(EMPTY[:, :, :2]) + products(PROMPT[:, :, :2])
    assert inner_products(outputs, moved_by(GUIDED), sigmas) == pytest.approx(alike)


def test_a_step_of_no_length_says_nothing_of_guidance() -> None:
    """Schedules that begin with the same noise level twice do not move the latents in between."""
    sigmas = [1.0, *SIGMAS[:-1]]
    moves = np.diff([*sigmas, 0.0])[:, None, None, None] * GUIDED
    latents = list(np.concatenate([0 * moves[:1], np.cumsum(moves, axis=0)[:-1]]))
    outputs = [list(pair) for pair in zip(EMPTY, PROMPT, strict=True)]
    assert inner_products(outputs, latents, sigmas) == pytest.approx(products(GUIDED))
