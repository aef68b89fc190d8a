"""Exact budgets of every strategy that has a running number: its rule on any numbers, and its hooks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import DEV, Plugin, generation, level

from mflux_teacache.errors import OptionError
from mflux_teacache.options import as_json, from_keywords
from mflux_teacache.pieces.budget import BUDGETS, Budget
from mflux_teacache.pieces.controller import judge
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.verdict import Progress
from mflux_teacache.plugins import load
from mflux_teacache.records import Target
from mflux_teacache.strategies import first_block_cache
from mflux_teacache.strategies.easycache import policy as easycache
from mflux_teacache.strategies.easycache.plugin import EasyCache
from mflux_teacache.strategies.magcache import policy as magcache
from mflux_teacache.strategies.magcache.table import shipped

STRATEGIES = ("teacache", "easycache", "magcache", "first-block-cache", "sea")
STEPS = 28

POSITIVE = st.floats(0.05, 10.0)
LIMITS = st.builds(Limits, skip_first=st.integers(0, 5), skip_last=st.integers(0, 4), max_skips=st.integers(0, 8))


def possible(data: Any, total: int, limits: Limits, least_first: int = 1, **more: Any) -> Budget:
    rules = {**limits.of(total, least_first), **more}
    least = min(total, Budget(computed=total, **rules).least)
    return Budget(computed=data.draw(st.integers(least, total)), **rules)


@given(
    st.lists(st.tuples(POSITIVE, POSITIVE), min_size=3, max_size=30, unique_by=lambda pair: pair[0]), LIMITS, st.data()
)
def test_easycache_learns_from_computed_steps_and_spends_its_budget(pairs: Any, limits: Limits, data: Any) -> None:
    budget = possible(data, len(pairs), limits, EasyCache.least_first)
    state, learned, computed, letters = Progress(), easycache.Learned(), None, ""
    for step, (x, v) in enumerate(pairs):
        change = abs(x - pairs[step - 1][0]) if step else None
        verdict = judge(state, easycache.decide(learned, change), step, budget)
        state, letters = verdict.state, letters + ("S" if verdict.kind == "reuse" else "C")
        if verdict.kind != "reuse":
            changes = () if computed is None else (abs(v - computed[1]), abs(x - computed[0]))
            learned, computed = easycache.learn(learned, v, *changes), (x, v)
    assert letters.startswith("CC")
    assert letters.count("C") == budget.computed


@given(st.lists(POSITIVE, min_size=2, max_size=30), st.frozensets(st.integers(1, 29), max_size=4), LIMITS, st.data())
def test_magcache_spends_its_budget(ratios: list[float], always: frozenset[int], limits: Limits, data: Any) -> None:
    config = magcache.Config(ratios=tuple(ratios), always=always)
    budget = possible(data, len(ratios), limits, always=always)
    state, letters = Progress(), ""
    for step in range(len(ratios)):
        verdict = judge(state, magcache.decide(state.skips, step, config), step, budget)
        state, letters = verdict.state, letters + ("S" if verdict.kind == "reuse" else "C")
    assert letters.count("C") == budget.computed
    assert all(letters[step] == "C" for step in always if step < len(letters))


@given(st.lists(POSITIVE, min_size=2, max_size=30), LIMITS, st.data())
def test_first_block_cache_spends_its_budget(signal: list[float], limits: Limits, data: Any) -> None:
    budget = possible(data, len(signal), limits)
    state, reference, letters = Progress(), None, ""
    for step, now in enumerate(signal):
        change = None if reference is None else abs(now - reference) / reference
        verdict = judge(state, first_block_cache.decide(change), step, budget)
        state, letters = verdict.state, letters + ("S" if verdict.kind == "reuse" else "C")
        if verdict.kind != "reuse":
            reference = now
    assert letters.count("C") == budget.computed


def arrays() -> dict[str, Any]:
    """What a step of any strategy reads: a signal that moves the faster, the later it is."""
    levels = [level(1.0 + index**2 / 100) for index in range(STEPS)]
    return {
        "signals": levels,
        "latents": levels,
        "outputs": [level(1.0 + index / 7) for index in range(STEPS)],
        "sigmas": [1 - index / STEPS for index in range(STEPS)],
        "token_grid": (2, 2),
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("asked", "computed"),
    [({"max_computed": 17}, 17), ({"speedup": 1.4}, 20), ({"speedup": 2}, 14), ({"speedup": 1}, 28)],
)
def test_the_hooks_compute_exactly_what_is_asked_for(strategy: str, asked: dict[str, Any], computed: int) -> None:
    plugin = Plugin(strategy, load(strategy).factory, DEV, **asked)
    image = plugin.run(STEPS, **arrays())
    assert image.pattern.count("C") == computed
    assert plugin.instance.threshold is None
    shares = [decision.threshold for decision in image.decisions if decision.threshold is not None]
    assert bool(shares) == (computed < STEPS)


def test_a_table_s_own_steps_are_computed_within_the_budget() -> None:
    assert shipped()["flux1-dev"].always == (11,)
    image = Plugin("magcache", load("magcache").factory, DEV, max_computed=8).run(STEPS)
    assert (image.pattern.count("C"), image.reasons[11]) == (8, "a step that is always computed")
    plugin = load("magcache")
    options = from_keywords(plugin, {"max_computed": 3, "max_skips": 24})
    with pytest.raises(OptionError, match=r"the first 3 and the last 0, and 1 between, .* which takes 4\."):
        plugin.factory().mflux_check(options, replace(DEV, steps=STEPS, active_steps=STEPS))
    # The last 12 of 28 steps begin after it.
    with pytest.raises(OptionError, match=r"the first 2 and the last 0, and skips at most 9 .* takes 3\."):
        plugin.factory().mflux_check(
            from_keywords(plugin, {"max_computed": 2, "max_skips": 9}), replace(DEV, steps=STEPS, active_steps=12)
        )


def test_what_an_image_was_that_numbers_force_is_said() -> None:
    """EasyCache's latents go bad where nothing of its budget is left."""
    latents = [level(1.0 + index / 64) for index in range(12)]
    latents[8] = level(float("nan"))
    outputs = [level(1.0 + index) for index in range(12)]
    plugin = Plugin("easycache", load("easycache").factory, DEV, max_computed=3, skip_last=1, max_skips=9)
    image = plugin.run(12, latents=latents, outputs=outputs)
    assert image.pattern == "CCSSSSSSCCCC"
    assert [image.reasons[step] for step in (7, 8)] == [
        "the budget is spent",
        "prediction not finite: computed beyond the budget",
    ]


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "teacache"])
def test_a_budget_that_cannot_be_had_is_refused_in_the_strategy_s_name(strategy: str) -> None:
    plugin = load(strategy)
    title = plugin.factory.title
    options = from_keywords(plugin, {"max_computed": 1})
    target = Target(pipeline="Flux1", model=DEV.model, steps=STEPS, active_steps=STEPS)
    with pytest.raises(OptionError, match=rf"^{title} cannot get by with 1 step .* Use --{strategy}-max-computed"):
        plugin.factory().mflux_check(options, target)
    with pytest.raises(OptionError, match=f"not allowed with argument --{strategy}-"):
        from_keywords(plugin, {"thresh": 0.1, "speedup": 2})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_recorded_of_a_budget_brings_it_back(strategy: str) -> None:
    """Without the threshold's default, which would stand beside it."""
    plugin = load(strategy)
    recorded = as_json(from_keywords(plugin, {"speedup": 1.5}))
    assert recorded.get("thresh") is None
    again = from_keywords(plugin, recorded)
    assert (again.speedup, as_json(again)) == (1.5, recorded)
    assert plugin.about.budgets == BUDGETS


def test_image_to_image_has_a_budget_of_its_own_steps() -> None:
    plugin = Plugin("magcache", load("magcache").factory, DEV, speedup=2, max_skips=9)
    assert plugin.run(28, active=14).pattern.count("C") == 7
    assert plugin.call("mflux_image_metadata", generation=generation(28))["threshold"] is None
