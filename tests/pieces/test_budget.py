"""The budget: spent to the last step, never exceeded, and spent where the changes are."""

from __future__ import annotations

import functools
import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.errors import OptionError
from mflux_teacache.teacache import calibration
from mflux_teacache.teacache.budget import Budget, BudgetState, computed_steps, decide
from mflux_teacache.teacache.plugin import Curve, predict

DATA = Path(__file__).parents[1] / "data"


def spend(predictions, budget):
    """The verdicts of a run; ``predictions`` are of the steps after the first."""
    state, verdicts = BudgetState(), []
    for step, prediction in enumerate([None, *predictions]):
        verdicts.append(decide(state, prediction, step, budget))
        state = verdicts[-1].state
    return verdicts


def pattern(predictions, computed, **rules):
    verdicts = spend(predictions, Budget(total=len(predictions) + 1, computed=computed, **rules))
    return "".join("S" if verdict.kind == "reuse" else "C" for verdict in verdicts)


def reused_change(letters, predictions):
    """Sum over the skipped steps of the predicted change since the last computed one: to be kept low."""
    total = running_sum = 0.0
    for letter, prediction in zip(letters[1:], predictions, strict=True):
        running_sum = running_sum + prediction if letter == "S" else 0.0
        total += running_sum
    return total


def best(predictions, computed, max_skips=8):
    """The lowest ``reused_change`` that this many computed steps allow, by looking at all of them."""
    changes = [0.0, *predictions]
    last = len(changes) - 1

    @functools.cache
    def rest(step, left, anchor):
        if step == last:
            return 0.0 if left == 0 else math.inf
        options = [math.inf]
        if left:
            options.append(rest(step + 1, left - 1, step))
        if step - anchor <= max_skips:
            options.append(sum(changes[anchor + 1 : step + 1]) + rest(step + 1, left, anchor))
        return min(options)

    return rest(1, computed - 2, 0)


# --- by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("computed", "expected"),
    [
        (12, "CCCCCCCCCCCC"),
        (6, "CSCSCSCSCSSC"),
        (4, "CSSSCSSCSSSC"),
        (3, "CSSSSCSSSSSC"),
    ],
)
def test_even_changes_are_split_evenly(computed, expected):
    assert pattern([1.0] * 11, computed) == expected


@pytest.mark.parametrize("computed", range(3, 13))
def test_even_changes_are_split_as_well_as_can_be(computed):
    changes = (1.0,) * 11
    assert reused_change(pattern(changes, computed), changes) == best(changes, computed)


def test_the_numbers_of_one_run():
    verdicts = spend([0.4, 0.1, 0.3, 0.2, 0.5], Budget(total=6, computed=4))
    # (0.4 + 0.4 * 3) / 3 with 4 steps and 2 computed ones left; (0.5 + 0.25 * 2) / 3; (0.3 + 0.8 / 3 * 1) / 2
    assert [v.threshold for v in verdicts] == pytest.approx([None, 1.6 / 3, 1 / 3, 0.85 / 3, None, None])
    assert [v.running_sum for v in verdicts] == pytest.approx([None, 0.4, 0.5, 0.3, 0.2, None])
    assert [(v.kind, v.reason) for v in verdicts] == [
        ("force", "first steps"),
        ("reuse", "predicted change under the budget's share"),
        ("compute", "predicted change reached the budget's share"),
        ("compute", "predicted change reached the budget's share"),
        ("reuse", "the budget is spent"),
        ("force", "last steps"),
    ]


def test_steps_that_change_nothing_are_not_computed_while_there_is_a_choice():
    assert pattern([0.0] * 6 + [1.0] * 5, 7) == "CSSSSSCCCCCC"


def test_after_the_last_computed_step_the_rest_is_skipped():
    verdicts = spend([9.0, 9.0, 0.1, 0.1, 0.1, 0.1, 0.1], Budget(total=8, computed=3))
    assert verdicts[-2].reason == "the budget is spent"
    assert verdicts[-1].reason == "last steps"


def test_the_cap_is_held_within_the_budget():
    # Computing in each of the first steps would leave more in a row than the cap allows.
    assert pattern([9.0] * 3 + [0.01] * 26, 5) == "CSSSSCSSSSSSSCSSSSSSSCSSSSSSSC"


@pytest.mark.parametrize(
    ("total", "rules", "least"),
    [
        (28, {}, 4),  # of the 26 between the windows 8 + 8 + 8 can be skipped
        (20, {}, 4),
        (19, {}, 3),
        (10, {}, 2),
        (10, {"skip_first": 0}, 2),
        (10, {"skip_first": 0, "skip_last": 0}, 2),
        (9, {"skip_first": 0, "skip_last": 0}, 1),
        (10, {"skip_first": 3, "skip_last": 2, "max_skips": 2}, 6),
        (10, {"max_skips": 0}, 10),
        (3, {"skip_first": 2, "skip_last": 2}, 3),
    ],
)
def test_the_fewest_computed_steps(total, rules, least):
    assert Budget(total=total, computed=least, **rules).least == least
    assert pattern([1.0] * (total - 1), least, **rules).count("C") == least
    with pytest.raises(OptionError, match=f"which takes {least}. Use --teacache-max-computed {least} "):
        Budget(total=total, computed=least - 1, title="TeaCache", plugin="teacache", **rules)


def test_the_speedup_that_a_refusal_names_is_allowed():
    with pytest.raises(OptionError, match=r"--teacache-speedup of at most 7\.14;"):
        Budget(total=50, computed=5, plugin="teacache")
    assert Budget(total=50, computed=computed_steps(50, 7.14)).computed == 7


@pytest.mark.parametrize(
    ("total", "speedup", "computed"),
    [(28, 1.0, 28), (28, 1.4, 20), (28, 1.6, 17), (25, 2.0, 12), (28, 1.12, 25), (33, 2.2, 15), (33, 2.3, 14)],
)
def test_a_speedup_in_steps(total, speedup, computed):
    assert computed_steps(total, speedup) == computed


# --- a change that is not finite ---------------------------------------------------------------------------------


def test_a_bad_change_comes_out_of_the_budget():
    assert pattern([1.0, math.nan, 1.0, *[1.0] * 8], 6).count("C") == 6
    verdicts = spend([1.0, math.nan, 1.0, *[1.0] * 8], Budget(total=12, computed=6))
    assert [(v.reason, v.drop_cache) for v in verdicts[2:4]] == [
        ("change or prediction not finite", True),
        ("nothing to reuse", False),
    ]


def test_what_changes_were_like_before_a_bad_one_is_still_known():
    verdicts = spend([0.1, math.nan, 0.2, 0.6, 0.1, 0.1, 0.1], Budget(total=8, computed=6))
    # 0.6 so far; two steps more of the mean of 0.1, 0.2 and 0.6; two computed ones left
    assert verdicts[4].threshold == pytest.approx((0.6 + 0.3 * 2) / 3)


def test_a_bad_change_is_computed_beyond_the_budget_and_says_so():
    verdicts = spend([1.0, 1.0, math.inf, 1.0, 1.0, 1.0, 1.0], Budget(total=8, computed=2))
    assert [v.kind for v in verdicts] == ["force", "reuse", "reuse", "force", "force", "reuse", "reuse", "force"]
    assert verdicts[3].reason == "change or prediction not finite: computed beyond the budget"
    assert verdicts[4].reason == "nothing to reuse: computed beyond the budget"


# --- any run -----------------------------------------------------------------------------------------------------

CHANGES = st.one_of(st.just(0.0), st.floats(1e-6, 10.0))
FINITE = st.one_of(CHANGES, st.floats(0.0, sys.float_info.max), st.sampled_from([5e-324, 1e308, sys.float_info.max]))
ANYTHING = st.one_of(FINITE, st.sampled_from([math.nan, math.inf, -math.inf, None]))


@st.composite
def runs(draw, changes=CHANGES):
    """Predictions and a budget that can be had."""
    total = draw(st.integers(2, 40))
    rules = {
        "skip_first": draw(st.integers(0, 6)),
        "skip_last": draw(st.integers(0, 6)),
        "max_skips": draw(st.integers(0, 9)),
    }
    least = Budget(total=total, computed=total, **rules).least
    computed = draw(st.integers(min(least, total), total + 2))
    predictions = draw(st.lists(changes, min_size=total - 1, max_size=total - 1))
    return predictions, Budget(total=total, computed=computed, **rules)


@given(runs(FINITE))
def test_the_budget_is_spent_and_windows_and_cap_are_held(run):
    predictions, budget = run
    letters = pattern(
        predictions,
        budget.computed,
        skip_first=budget.skip_first,
        skip_last=budget.skip_last,
        max_skips=budget.max_skips,
    )
    assert letters.count("C") == min(budget.computed, budget.total)
    assert letters.startswith("C" * min(budget.first, budget.total))
    assert letters.endswith("C" * min(budget.skip_last, budget.total))
    assert "S" * (budget.max_skips + 1) not in letters


@given(runs(st.one_of(CHANGES, st.sampled_from([math.nan, math.inf]))))
def test_bad_changes_are_all_that_exceeds_the_budget(run):
    predictions, budget = run
    verdicts = spend(predictions, budget)
    forced = sum(v.reason.endswith("beyond the budget") for v in verdicts)
    computed = sum(v.kind != "reuse" for v in verdicts)
    assert computed <= budget.computed + forced
    bad = [step for step, p in enumerate(predictions, 1) if not math.isfinite(p)]
    assert all(verdicts[step].kind == "force" and verdicts[step].drop_cache for step in bad)
    assert all(verdicts[step].kind != "reuse" for step in (b + 1 for b in bad) if step < budget.total)


@given(runs(ANYTHING))
def test_whatever_is_predicted_the_cap_and_the_windows_are_held(run):
    predictions, budget = run
    verdicts = spend(predictions, budget)
    letters = "".join("S" if verdict.kind == "reuse" else "C" for verdict in verdicts)
    assert "S" * (budget.max_skips + 1) not in letters
    assert letters.startswith("C" * min(budget.first, budget.total))
    assert letters.endswith("C" * min(budget.skip_last, budget.total))
    assert all(math.isfinite(verdict.state.number) for verdict in verdicts)


def test_what_bad_changes_took_is_missing_at_the_end_but_for_the_cap():
    """8 computed steps are spent at the eighth; from there on, each 3 skips end in a step beyond the budget."""
    changes = [0.1, *[math.nan] * 6, *[0.1] * 12]
    verdicts = spend(changes, Budget(total=20, computed=8, max_skips=3))
    assert "".join("S" if verdict.kind == "reuse" else "C" for verdict in verdicts) == "CSCCCCCCCSSSCSSSCSSC"
    assert {v.reason for v in verdicts if v.kind == "force" and not v.drop_cache} == {
        "first steps",
        "last steps",
        "nothing to reuse: computed beyond the budget",
        "3 skips in a row: computed beyond the budget",
    }


@pytest.mark.parametrize(
    ("change", "letters"),
    [
        (1e308, "CSSSCSSCSSSC"),
        (sys.float_info.max, "CSSSCSSCSSSC"),
        (5e-324, "CSSCSSSCSSSC"),  # of which there are only whole multiples
    ],
)
def test_changes_at_the_ends_of_what_a_float_holds_are_split_evenly(change, letters):
    assert pattern([change] * 11, 4) == letters


@given(runs(), st.floats(0.01, 100))
def test_only_the_proportions_of_the_changes_matter(run, scale):
    predictions, budget = run
    # Powers of two scale floats exactly.
    scale = 2.0 ** round(math.log2(scale))
    kinds = [v.kind for v in spend(predictions, budget)]
    assert [v.kind for v in spend([p * scale for p in predictions], budget)] == kinds


# --- recorded runs -----------------------------------------------------------------------------------------------


def _predictions(name, changes):
    made = calibration.load(name)
    curve = Curve(polynomial=made.polynomial, lower=made.lower, upper=made.upper)
    return tuple(predict(change, curve) for change in changes)


def _traces():
    krea = json.loads((DATA / "trace-krea.json").read_text())
    demo = json.loads((DATA / "trace-demo.json").read_text())
    yield pytest.param(_predictions(krea["calibration"], krea["rel_l1"]), id="krea")
    for run in demo["runs"]:
        yield pytest.param(_predictions(demo["calibration"], run["rel_l1"]), id=f"demo-{run['seed']}")


TRACES = list(_traces())


@pytest.mark.parametrize("predictions", TRACES)
@pytest.mark.parametrize(("least", "most", "factor"), [(4, 14, 1.25), (15, 21, 1.6), (22, 27, 2.5)])
def test_a_recorded_run_is_split_nearly_as_well_as_by_knowing_it(predictions, least, most, factor):
    """Worst where few are skipped: the last changes are the largest, and which was the least is known afterwards."""
    for computed in range(least, most + 1):
        letters = pattern(predictions, computed)
        assert letters.count("C") == computed
        assert reused_change(letters, predictions) <= factor * best(predictions, computed) + 1e-9, computed


@pytest.mark.parametrize("predictions", TRACES)
def test_a_larger_budget_reuses_less_change(predictions):
    sums = [reused_change(pattern(predictions, computed), predictions) for computed in range(4, 29)]
    assert all(more <= less * 1.1 for less, more in pairwise(sums))
    assert sums[-1] == 0.0


def test_best_is_the_best():
    """Against every pattern of a short run."""
    predictions = (0.3, 0.1, 0.5, 0.2, 0.2, 0.7, 0.1)
    patterns = (f"C{middle:06b}C".replace("0", "S").replace("1", "C") for middle in range(64))
    by_hand = min(reused_change(letters, predictions) for letters in patterns if letters.count("C") == 5)
    assert best(predictions, 5) == pytest.approx(by_hand)
