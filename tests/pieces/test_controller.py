"""What is done in a step, whatever a strategy's rule is: limits, what went bad, and budgets that are spent exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.budget import Budget
from mflux_teacache.pieces.controller import RECENT, Bounds, judge, unlimited
from mflux_teacache.pieces.verdict import Progress, Verdict

Rule = Callable[[Progress, int], Verdict]


@dataclass
class Run:
    """The verdicts of an image, and how far it was before each of them."""

    verdicts: list[Verdict] = field(default_factory=list)
    states: list[Progress] = field(default_factory=list)

    @property
    def pattern(self) -> str:
        return "".join("S" if verdict.kind == "reuse" else "C" for verdict in self.verdicts)


def follow(rule: Rule, bounds: Bounds) -> Run:
    run, state = Run(), Progress()
    for step in range(bounds.total):
        run.states.append(state)
        run.verdicts.append(judge(state, rule(state, step), step, bounds))
        state = run.verdicts[-1].state
    return run


def summing(predictions: Sequence[float | None]) -> Rule:
    return lambda _, step: Verdict(kind="weigh", reason="change", prediction=predictions[step])


class Distance:
    """A signal's distance from where it was at the last computed step: a number that is no sum."""

    def __init__(self, signal: Sequence[float]) -> None:
        self.signal = signal

    def __call__(self, state: Progress, step: int) -> Verdict:
        before = step - 1 - state.skips  # the last computed step
        change = None if step == 0 else abs(self.signal[step] - self.signal[before])
        return Verdict(kind="weigh", reason="distance", change=change)


def middle(**verdict: Any) -> Verdict:
    """A verdict far from both windows, with something to reuse, at a threshold of 1."""
    told = Verdict(**{"kind": "weigh", "reason": "change", **verdict})
    return judge(Progress(number=0.5, skips=1, cached=True), told, 5, Bounds(total=10, threshold=1.0, max_skips=4))


# --- one step ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "kind", "reason", "number"),
    [
        ({"prediction": 0.25}, "reuse", "change under the threshold", 0.75),
        ({"prediction": 0.5}, "compute", "change reached the threshold", 0.0),
        ({"change": 0.75}, "reuse", "change under the threshold", 0.75),  # as it is, and not 0.5 more
        ({"change": 1.0}, "compute", "change reached the threshold", 0.0),
        ({}, "force", "nothing to compare with", 0.0),
        ({"kind": "compute", "reason": "mine"}, "compute", "mine", 0.0),
        ({"kind": "force", "reason": "mine"}, "force", "mine", 0.0),
        ({"kind": "reuse", "reason": "mine"}, "reuse", "mine", 0.5),
    ],
)
def test_a_step_in_the_middle(verdict: dict[str, Any], kind: str, reason: str, number: float) -> None:
    decided = middle(**verdict)
    assert (decided.kind, decided.reason, decided.state.number) == (kind, reason, number)
    assert decided.state.skips == (2 if kind == "reuse" else 0)


def test_only_a_sum_is_recorded_as_one() -> None:
    assert middle(prediction=0.25).running_sum == 0.75
    assert middle(prediction=0.25, kind="force").running_sum == 0.75
    assert middle(change=0.25).running_sum is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("what", ["change", "prediction"])
@pytest.mark.parametrize("step", [0, 5, 9])
def test_a_number_that_is_not_finite_is_never_weighed(number: float, what: str, step: int) -> None:
    state = Progress(number=0.5, skips=1, cached=True, recent=(0.5,))
    bounds = Bounds(total=10, threshold=1.0)
    decided = judge(state, Verdict(kind="weigh", reason="change", **{what: number}), step, bounds)
    assert (decided.kind, decided.drop_cache, decided.keep) == ("force", True, False)
    assert decided.state == Progress(computed=1, cached=False, recent=(0.5,))


@pytest.mark.parametrize("kind", ["compute", "force", "reuse", "weigh"])
def test_the_windows_are_held_whatever_the_rule_says(kind: Any) -> None:
    told = Verdict(kind=kind, reason="mine", change=0.1, prediction=0.25)
    bounds = Bounds(total=10, skip_first=2, skip_last=3, threshold=1.0)
    decided = [judge(Progress(cached=True), told, step, bounds) for step in range(10)]
    assert [each.reason for each in decided[:2] + decided[7:]] == ["first steps"] * 2 + ["last steps"] * 3
    assert {(each.kind, each.prediction, each.running_sum) for each in decided[:2]} == {("force", 0.25, None)}
    assert not {"first steps", "last steps"} & {each.reason for each in decided[2:7]}


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_bad_number_that_a_rule_itself_computes_is_not_remembered(number: float) -> None:
    for told in ({"prediction": number}, {"change": number}, {"change": 0.25}):
        decided = middle(kind="compute", reason="mine", **told)
        assert (decided.reason, decided.state.recent, decided.running_sum) == ("mine", (), None)


def test_what_went_bad_in_a_window_is_forced_and_drops_the_cache_all_the_same() -> None:
    told = Verdict(kind="compute", reason="prediction not finite", drop_cache=True)
    decided = [judge(Progress(cached=True), told, step, Bounds(total=10)) for step in (0, 5, 9)]
    assert [each.kind for each in decided] == ["force", "compute", "force"]
    assert {(each.reason, each.drop_cache) for each in decided} == {("prediction not finite", True)}


def test_nothing_is_reused_without_a_cache_or_after_it_was_dropped() -> None:
    wants = Verdict(kind="reuse", reason="mine")
    assert judge(Progress(), wants, 5, unlimited(9)).reason == "nothing to reuse"
    dropped = judge(Progress(cached=True), Verdict(kind="compute", reason="", drop_cache=True), 4, unlimited(9))
    assert judge(dropped.state, wants, 5, unlimited(9)).kind == "reuse"  # what that step computed
    unkept = judge(Progress(cached=True), Verdict(kind="compute", reason="", keep=False), 4, unlimited(9))
    assert judge(unkept.state, wants, 5, unlimited(9)).kind == "reuse"  # what there was before


def test_a_plan_is_followed_as_it_is() -> None:
    plan = "CSSSSSSSSSSS"
    rule = lambda _, step: Verdict(kind="reuse" if plan[step] == "S" else "compute", reason="planned")  # noqa: E731
    run = follow(rule, unlimited(len(plan)))
    assert (run.pattern, {verdict.reason for verdict in run.verdicts}) == (plan, {"planned"})


def test_what_is_remembered_of_the_changes_is_what_the_number_grew_by() -> None:
    run = follow(summing([None, 0.5, 0.25, 0.125, 0.5]), Bounds(total=5, threshold=0.6, skip_last=0))
    assert run.pattern == "CSCSC"
    assert run.verdicts[-1].state.recent == (0.25, 0.125, 0.5)[-RECENT:]
    away = follow(Distance([0.0, 0.5, 0.25, 1.0]), Bounds(total=4, threshold=0.6, skip_last=0))
    assert away.pattern == "CSSC"
    assert away.verdicts[-1].state.recent == (0.5, 0.0, 0.75)  # nearer again is no change


# --- exact budgets -----------------------------------------------------------------------------------------------

CHANGES = st.one_of(st.just(0.0), st.floats(1e-6, 10.0))
BAD = st.sampled_from([math.nan, math.inf, -math.inf])


@st.composite
def budgets(draw: Any) -> Budget:
    """One that can be had, also with steps between the windows that the strategy computes in any case."""
    total = draw(st.integers(2, 40))
    rules = {
        "total": total,
        "skip_first": draw(st.integers(0, 6)),
        "skip_last": draw(st.integers(0, 6)),
        "max_skips": draw(st.integers(0, 9)),
        "always": draw(st.frozensets(st.integers(0, total - 1), max_size=5)),
    }
    least = min(total, Budget(computed=total, **rules).least)
    return Budget(computed=draw(st.integers(least, total + 2)), **rules)


def numbers(budget: Budget, of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, min_size=budget.total, max_size=budget.total)


def with_always(rule: Rule, budget: Budget) -> Rule:
    def told(state: Progress, step: int) -> Verdict:
        verdict = rule(state, step)
        if step in budget.always:
            return Verdict(kind="force", reason="always", change=verdict.change, prediction=verdict.prediction)
        return verdict

    return told


def in_any_case(budget: Budget) -> set[int]:
    first, last = range(budget.first), range(budget.total - budget.skip_last, budget.total)
    return {step for step in (*first, *budget.always, *last) if 0 <= step < budget.total}


@given(budgets(), st.data(), st.booleans())
def test_a_budget_is_spent_to_the_last_step_and_never_exceeded(budget: Budget, data: Any, sums: bool) -> None:
    values = data.draw(numbers(budget, CHANGES))
    rule = summing([None, *values[1:]]) if sums else Distance(values)
    run = follow(with_always(rule, budget), budget)
    assert run.pattern.count("C") == min(budget.computed, budget.total)
    assert all(run.pattern[step] == "C" for step in in_any_case(budget))
    assert "S" * (budget.max_skips + 1) not in run.pattern
    assert not [verdict for verdict in run.verdicts if "beyond" in verdict.reason]


@given(budgets(), st.data(), st.booleans())
def test_what_is_left_is_computed_when_it_must_be_and_skipped_when_all_is_spent(
    budget: Budget, data: Any, sums: bool
) -> None:
    values = data.draw(numbers(budget, CHANGES))
    rule = summing([None, *values[1:]]) if sums else Distance(values)
    run = follow(with_always(rule, budget), budget)
    for step, (verdict, state) in enumerate(zip(run.verdicts, run.states, strict=True)):
        ahead = [each for each in range(step, budget.total) if each not in in_any_case(budget)]
        reserved = budget.total - step - len(ahead)
        left = budget.computed - state.computed - reserved
        if step in in_any_case(budget):
            continue
        if left >= len(ahead):
            assert (verdict.kind, verdict.reason) == ("force", "the budget computes all that is left")
        elif left == 0:
            assert (verdict.kind, verdict.reason) == ("reuse", "the budget is spent")
        else:
            assert verdict.threshold is not None


@given(budgets(), st.data())
def test_bad_numbers_are_all_that_exceeds_a_budget(budget: Budget, data: Any) -> None:
    values = data.draw(numbers(budget, CHANGES | BAD))
    run = follow(with_always(summing([None, *values[1:]]), budget), budget)
    beyond = sum(verdict.reason.endswith("computed beyond the budget") for verdict in run.verdicts)
    assert run.pattern.count("C") <= max(budget.computed, len(in_any_case(budget))) + beyond
    assert "S" * (budget.max_skips + 1) not in run.pattern
    if not beyond and all(map(math.isfinite, values[1:])):
        assert run.pattern.count("C") == min(budget.computed, budget.total)


def test_the_steps_that_a_strategy_always_computes_are_counted_in() -> None:
    rules: dict[str, Any] = {"total": 20, "max_skips": 4, "always": frozenset({10}), "title": "Mine", "plugin": "mine"}
    # 9 free steps before it and 8 after it: 4 and 4 with one computed between them, and 3 and 4.
    assert Budget(computed=20, **rules).least == 5
    with pytest.raises(OptionError, match=r"first 1 and the last 1, and 1 between, .* which takes 5\. Use --mine-max"):
        Budget(computed=4, **rules)
    budget = Budget(computed=5, **rules)
    assert follow(with_always(summing([None] + [1.0] * 19), budget), budget).pattern == "CSSSSCSSSSCSSSCSSSSC"


def test_a_distance_is_shared_out_as_it_is() -> None:
    """To 3 and back: the way is 6, and no step is farther than 3 from any other."""
    signal = [0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0, 0.0]
    run = follow(Distance(signal), Budget(total=8, computed=4))
    # (1 + 1 * 5) / 3 with 6 steps and 2 computed ones left; (2 + 1 * 4) / 3, which 2 reaches.
    assert [verdict.threshold for verdict in run.verdicts[1:3]] == [2.0, 2.0]
    assert run.pattern[:3] == "CSC"
    assert run.pattern.count("C") == 4
