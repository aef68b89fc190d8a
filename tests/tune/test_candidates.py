"""Which settings are checked."""

from __future__ import annotations

import numpy as np
import pytest
from recorded_runs import early, recorded, walk

from mflux_teacache.bench.plugin_settings import load
from mflux_teacache.options import from_keywords
from mflux_teacache.tune.candidates import Candidate, by_budget, chosen

STEPS, BUDGETS = 16, (8, 5)
EVEN = {8: "CSCSCSCSCSCSCSCC", 5: "CSSSCSSSCSSSCSSC"}
LATE = {8: "CSSSSSSSSCCCCCCC", 5: "CSSSSSSSSSSCSCCC"}


def patterns(by_plugin: dict[str, dict[int, str]]) -> dict[str, str]:
    return {
        str(setting): by_plugin[setting.plugin][int(setting.options["max_computed"])]
        for setting in by_budget(BUDGETS)
        if int(setting.options["max_computed"]) in by_plugin.get(setting.plugin, {})
    }


def test_every_setting_is_one_that_its_plugin_takes() -> None:
    runs = [recorded(walk(STEPS, seed), patterns=patterns({"sea": EVEN})) for seed in (1, 2)]
    for candidate in chosen(runs, BUDGETS, 6):
        from_keywords(load(candidate.setting.plugin), candidate.setting.options)
        assert candidate.setting.options["reuse"] == "output"


def ways(found: list[Candidate]) -> set[str]:
    return {candidate.way for candidate in found}


def test_plans_what_is_usual_and_strategies_take_turns() -> None:
    sigmas = [1 - (step / STEPS) ** 3 for step in range(STEPS)]  # of uneven steps
    decided = patterns({"sea": EVEN, "teacache": LATE, "schedule": EVEN})
    runs = [recorded(walk(STEPS, seed), sigmas, decided) for seed in (2, 4)]
    by_plans, strategies = {"plans by growth 0.5", "plans by growth 0.7"}, {"sea", "teacache"}
    assert ways(chosen(runs, BUDGETS, 5)) == {"schedule"} | by_plans | strategies
    three = ways(chosen(runs, BUDGETS, 3))
    assert [len(three & group) for group in ({"schedule"}, by_plans, strategies)] == [1, 1, 1]


def test_of_forecasts_that_are_alike_the_usual_one_is_taken() -> None:
    """After a jump there is one that a forecast makes worse; in a line held outputs are far off."""
    line = np.outer(np.linspace(1, 2, STEPS), np.ones(6))
    [straight] = chosen([recorded(line)], [8], 1)
    assert straight.setting.forecast == 2  # a linear one is as exact
    [jumping] = chosen([recorded(early(18, seed=1))], [6], 1)
    assert jumping.setting.forecast == 0


def test_the_better_strategy_is_taken_first() -> None:
    outputs = walk(STEPS, 3)
    outputs[:11] = outputs[10]  # in these steps there is nothing to compute but the first
    for late, even in (("sea", "teacache"), ("teacache", "sea")):
        run = recorded(outputs, patterns=patterns({late: LATE, even: EVEN}))
        plan, strategy = chosen([run], [5], 2)
        assert {plan.setting.plugin, strategy.setting.plugin} == {"schedule", late}


@pytest.mark.parametrize("missing", ["in an image", "at a budget"])
def test_a_strategy_that_is_not_there_everywhere_is_left_out(missing: str) -> None:
    everywhere = patterns({"sea": EVEN})
    less = {} if missing == "in an image" else patterns({"sea": {8: EVEN[8]}})
    other = everywhere if missing == "in an image" else less
    runs = [recorded(walk(STEPS, 1), patterns=less), recorded(walk(STEPS, 2), patterns=other)]
    assert {candidate.setting.plugin for candidate in chosen(runs, BUDGETS, 6)} == {"schedule"}


def test_a_plan_that_is_found_in_two_ways_is_checked_once() -> None:
    found = chosen([recorded(early(18, seed=1))], [6, 5], 2)
    assert {candidate.setting.plugin for candidate in found} == {"schedule"}
    assert [candidate.budget for candidate in found].count(6) == 1


def test_a_plan_that_is_the_usual_one_is_checked_once() -> None:
    runs = [recorded(walk(STEPS, 1))]
    [plan] = chosen(runs, [8], 1)
    usual = patterns({"schedule": {8: str(plan.setting.options["pattern"])}})
    found = chosen([recorded(walk(STEPS, 1), patterns=usual)], [8], 3)
    assert {each.setting.forecast for each in found} >= {2}
    same = [each for each in found if each.way == "schedule" or each.setting.options["pattern"] in usual.values()]
    assert len({each.setting.forecast for each in same}) == len(same)


def test_what_is_usual_has_the_usual_forecast() -> None:
    jumping = recorded(early(STEPS, seed=1), patterns=patterns({"schedule": EVEN}))
    found = {each.way: each.setting.forecast for each in chosen([jumping], [5], 4)}
    assert (found["schedule"], found["plans by growth 0.5"]) == (2, 0)


def test_with_one_of_each_the_best_is_taken() -> None:
    found = chosen([recorded(walk(STEPS, 4), patterns=patterns({"sea": LATE}))], BUDGETS, 1)
    assert [candidate.setting.plugin for candidate in found] == ["schedule", "schedule"]
