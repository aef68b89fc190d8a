"""The error of skipped steps, against outputs that are reused by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_runs import Array, recorded, walk

from mflux_teacache.pieces.forecast import MAX_GAIN_OF_OUTPUTS, ORDERS, weights
from mflux_teacache.tune.segments import Nodes, Segments

STEPS = 9


def by_hand(outputs: Array, sigmas: list[float], nodes: Nodes, order: int, growth: float) -> tuple[float, float]:
    """By segments, and over the whole run: step by step with the outputs themselves, as a run would reuse them."""
    after = np.array([*sigmas[1:], 0.0])
    moves, size = (np.array(sigmas) - after) / (1 - after) ** growth, float((outputs * outputs).sum())
    segments, off, whole = [], np.zeros(outputs.shape[1]), np.zeros(outputs.shape[1])
    for step, output in enumerate(outputs):
        if step in nodes:
            segments.append(float(off @ off))
            off = np.zeros_like(off)
            continue
        newest_first = [node for node in nodes if node < step][::-1]
        shares = weights(sigmas[step], [sigmas[node] for node in newest_first], order, MAX_GAIN_OF_OUTPUTS)
        reused = sum(share * outputs[node] for share, node in zip(shares, newest_first, strict=False))
        wrong = (reused - output) * moves[step] / moves.mean()
        off, whole = off + wrong, whole + wrong
    powers = [(square / size) ** 2 for square in (*segments, float(off @ off), float(whole @ whole))]
    return sum(powers[:-1]), powers[-1]


@given(
    computed=st.sets(st.integers(1, STEPS - 1)),
    order=st.sampled_from(ORDERS),
    growth=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_a_plan_s_error_is_that_of_reuse_by_hand(computed: set[int], order: int, growth: float, seed: int) -> None:
    sigmas = [1 - (step / STEPS) ** 2 for step in range(STEPS)]
    outputs, nodes = walk(STEPS, seed), (0, *sorted(computed))
    segments = Segments([recorded(outputs, sigmas)], order, 0.3).growing(growth)
    by_segments, whole = by_hand(outputs, sigmas, nodes, order, growth)
    assert segments.of(nodes) == pytest.approx(by_segments, rel=1e-6, abs=1e-12)
    assert segments.of_run(nodes) == pytest.approx(by_segments + whole, rel=1e-6, abs=1e-12)


def test_everything_computed_is_no_error() -> None:
    assert Segments([recorded(walk(STEPS, 1))], 2).of(tuple(range(STEPS))) == 0


def test_several_runs_count_alike_whatever_their_size() -> None:
    one, other = walk(STEPS, 1), walk(STEPS, 2)
    nodes = (0, 3, STEPS - 1)
    alone = [Segments([recorded(outputs)], 1).of(nodes) for outputs in (one, other)]
    assert Segments([recorded(one), recorded(100 * other)], 1).of(nodes) == pytest.approx(sum(alone) / 2)


def test_without_noise_levels_outputs_are_held_and_steps_count_alike() -> None:
    outputs = walk(STEPS, 3)
    run = recorded(outputs)  # of steps that are equally long
    unknown = Segments([replace(run, sigmas=None)], 2, 1.0)
    assert unknown.of((0, 4, 8)) == pytest.approx(Segments([run], 0, 0.0).of((0, 4, 8)))


def test_latents_that_hold_no_image_are_no_division_by_zero() -> None:
    outputs = walk(STEPS, 3)
    sigmas = [1.0, 1.0, *(1 - step / STEPS for step in range(1, STEPS - 1))]
    for levels in (sigmas, [0.0] * STEPS):
        assert np.isfinite(Segments([recorded(outputs, levels)], 2, 1.0).of((0, 4, 8)))


def test_a_line_in_the_noise_level_is_forecast_without_error() -> None:
    outputs = np.outer(np.arange(STEPS), np.ones(3)) + 1
    held, linear = (Segments([recorded(outputs)], order).of((0, 1, 2, 3, 5, 7)) for order in (0, 1))
    assert held > 1e-5
    assert linear == pytest.approx(0, abs=1e-20)
