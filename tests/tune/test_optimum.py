"""The best plan of each budget, against all plans that there are."""

from __future__ import annotations

from itertools import combinations

import pytest
from recorded_runs import early, recorded, walk

from mflux_teacache.pieces.forecast import ORDERS
from mflux_teacache.tune.candidates import best_plan
from mflux_teacache.tune.optimum import plans
from mflux_teacache.tune.segments import Nodes, Segments

STEPS = 9


def every_plan(computed: int) -> list[Nodes]:
    between = range(1, STEPS - 1)
    return [(0, *chosen, STEPS - 1) for chosen in combinations(between, computed - 2)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(5))
def test_no_other_plan_is_better(order: int, seed: int) -> None:
    segments = Segments([recorded(walk(STEPS, seed)), recorded(walk(STEPS, seed + 100))], order)
    found = plans(segments, range(2, STEPS + 1))
    for computed, nodes in found.items():
        assert len(nodes) == computed
        best = min(map(segments.of, every_plan(computed)))
        assert segments.of(nodes) == pytest.approx(best, rel=1e-9)


def test_single_steps_are_not_ranked() -> None:
    """The steps of a small budget need not be among those of a larger one."""
    found = plans(Segments([recorded(walk(STEPS, 2))], 0), range(2, STEPS))
    assert any(not set(found[computed]) <= set(found[computed + 1]) for computed in range(2, STEPS - 1))


def test_a_family_whose_first_third_matters_has_the_plan_that_computes_it() -> None:
    """Its outputs jump from step to step at first, and stay the same from then on."""
    steps = 18
    run = recorded(early(steps, seed=1))
    for order in ORDERS:
        nodes = plans(Segments([run], order), [steps // 3 + 1])[steps // 3 + 1]
        if order == 0:
            assert nodes == (*range(steps // 3), steps - 1)
    best = best_plan([run], steps // 3 + 1, 0.0)
    assert best.setting.options["pattern"] == "CCCCCCSSSSSSSSSSSC"
    assert best.error == pytest.approx(0, abs=1e-12)


def test_a_forecast_that_misleads_is_not_chosen() -> None:
    """After jumps the next output is nowhere near the line through the last two."""
    assert best_plan([recorded(early(18, seed=1))], 7, 0.0).setting.options["forecast"] == 0
    smooth = recorded(walk(18, 1) * 0 + [[float(step)] * 12 for step in range(18)])
    assert best_plan([smooth], 7, 0.0).setting.options["forecast"] > 0
