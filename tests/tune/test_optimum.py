"""The best plan of each budget, against all plans that there are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from recorded_runs import early, recorded, walk

from mflux_teacache.pieces.forecast import ORDERS
from mflux_teacache.tune.candidates import chosen
from mflux_teacache.tune.optimum import by_segments, plans
from mflux_teacache.tune.segments import Nodes, Segments

STEPS = 9


def every_plan(computed: int) -> list[Nodes]:
    return [(0, *others) for others in combinations(range(1, STEPS), computed - 1)]


def two_runs(seed: int, order: int) -> Segments:
    return Segments([recorded(walk(STEPS, seed)), recorded(walk(STEPS, seed + 100))], order, 0.6)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(5))
def test_the_segments_of_no_other_plan_err_less(order: int, seed: int) -> None:
    segments = two_runs(seed, order)
    found = by_segments(segments, range(2, STEPS + 1))
    for computed, nodes in found.items():
        assert len(nodes) == computed
        best = min(map(segments.of, every_plan(computed)))
        assert segments.of(nodes) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(5))
def test_over_the_whole_run_it_is_the_best_plan_or_close_to_it(order: int, seed: int) -> None:
    segments = two_runs(seed, order)
    begun = by_segments(segments, range(2, STEPS + 1))
    for computed, nodes in plans(segments, range(2, STEPS + 1)).items():
        assert len(nodes) == computed
        errors = sorted(map(segments.of_run, every_plan(computed)))
        assert segments.of_run(nodes) <= segments.of_run(begun[computed]) * (1 + 1e-9)
        assert segments.of_run(nodes) <= errors[len(errors) // 20] * (1 + 1e-9)


def test_the_last_step_is_computed_only_where_that_is_worth_it() -> None:
    """Outputs that are the same from the middle on, and outputs of which the last is like no other."""
    same, other = early(STEPS, seed=3), walk(STEPS, 3)
    other[:-1] = other[0]
    assert [
        STEPS - 1 in plans(Segments([recorded(outputs)], 0), [budget])[budget]
        for outputs, budget in ((same, 2), (other, 2))
    ] == [False, True]


def test_single_steps_are_not_ranked() -> None:
    """The steps of a small budget need not be among those of a larger one."""
    found = plans(Segments([recorded(walk(STEPS, 2))], 0), range(2, STEPS))
    assert any(not set(found[computed]) <= set(found[computed + 1]) for computed in range(2, STEPS - 1))


def test_a_family_whose_first_third_matters_has_the_plan_that_computes_it() -> None:
    """Its outputs jump from step to step at first, and stay the same from then on."""
    steps, budget = 18, 6
    run = recorded(early(steps, seed=1))
    assert plans(Segments([run], 0), [budget])[budget] == tuple(range(budget))
    best, *_ = chosen([run], [budget], 1)
    assert best.setting.options["pattern"] == "CCCCCCSSSSSSSSSSSS"
    assert best.error == pytest.approx(0, abs=1e-24)


def test_a_forecast_that_misleads_is_not_chosen() -> None:
    """After jumps the next output is nowhere near the line through the last two."""
    [jumping] = chosen([recorded(early(18, seed=1))], [6], 1)
    assert jumping.setting.forecast == 0
    smooth = np.outer(np.linspace(1, 2, 18) ** 2, np.ones(12))
    [forecast] = chosen([recorded(smooth)], [6], 1)
    assert forecast.setting.forecast == 2
