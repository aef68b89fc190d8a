"""The best plan of each budget, against all plans that there are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from recorded_runs import early, recorded, walk

from mflux_teacache.pieces.forecast import ORDERS
from mflux_teacache.tune.candidates import chosen
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
    budget = steps // 3 + 1
    assert plans(Segments([run], 0), [budget])[budget] == (*range(steps // 3), steps - 1)
    best, *_ = chosen([run], [budget], 1)
    assert best.setting.options["pattern"] == "CCCCCCSSSSSSSSSSSC"
    assert best.error == pytest.approx(0, abs=1e-12)


def test_a_forecast_that_misleads_is_not_chosen() -> None:
    """After jumps the next output is nowhere near the line through the last two."""
    [jumping] = chosen([recorded(early(18, seed=1))], [7], 1)
    assert jumping.setting.forecast == 0
    smooth = np.outer(np.linspace(1, 2, 18) ** 2, np.ones(12))
    [forecast] = chosen([recorded(smooth)], [7], 1)
    assert forecast.setting.forecast == 2
