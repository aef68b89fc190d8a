"""Plans as pure functions: what holds of them whatever the lists and the run are, and a few that are known."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.pieces.patterns import even, letters
from mflux_teacache.strategies.schedule.plans import carried_over, shifted


@st.composite
def budgets(draw, least=3, most=80):
    """Steps of a run, and how many of them are computed."""
    total = draw(st.integers(least, most))
    return total, draw(st.integers(2, total - 1))


falling = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=60, unique=True).map(lambda x: sorted(x, reverse=True))


def assert_is_plan(steps, total, computed):
    assert len(steps) == computed
    assert (steps[0], steps[-1]) == (0, total - 1)
    assert all(earlier < later for earlier, later in pairwise(steps))


@given(budgets(), st.lists(falling, min_size=1, max_size=4), st.data())
def test_any_lists_on_any_run(budget, lists, data):
    """Also those that lie outside of the run's range, or are far denser than its steps."""
    total, computed = budget
    run = data.draw(st.lists(st.floats(0.001, 2.0), min_size=total, max_size=total, unique=True))
    carried = carried_over(lists, sorted(run, reverse=True), computed)
    assert_is_plan(carried.steps, total, computed)
    assert 1 <= len(carried.lists) <= 2


@given(budgets(), st.floats(-2, 3), st.floats(-2, 3), st.data())
def test_a_list_on_its_own_run_is_itself(budget, shift, other, data):
    total, computed = budget
    between = data.draw(st.sets(st.integers(1, total - 2), min_size=computed - 2, max_size=computed - 2))
    steps = (0, *sorted(between), total - 1)
    run = shifted(total, shift)
    lists = [[run[step] for step in steps]]
    assert carried_over(lists, run, computed).steps == steps
    # mflux's noise levels are float32.
    assert carried_over(lists, [level * (1 + 1e-7) for level in run], computed).steps == steps
    # Another list does not change that, as long as it is for another budget.
    every = shifted(total, other)
    assert carried_over([every, *lists], run, computed) == (steps, (1,))


@given(budgets())
def test_an_even_plan_of_any_budget(budget):
    steps = even(*budget)
    assert_is_plan(steps, *budget)
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("computed", "total", "plan"),
    [
        (14, 28, "CSCSCSCSCSCSCSSCSCSCSCSCSCSC"),
        (9, 28, "CSSCSSSCSSCSSSCSSCSSCSSSCSSC"),
        (20, 28, "CCSCCSCCSCCCSCCSCCCSCCSCCSCC"),
        (3, 9, "CSSSCSSSC"),
        (2, 9, "CSSSSSSSC"),
        (8, 9, "CCCCSCCCC"),
    ],
)
def test_even_plans(computed, total, plan):
    assert letters(even(total, computed), total) == plan


RUN = [1 - step / 20 for step in range(21)]  # 1 to 0


@pytest.mark.parametrize(
    ("lists", "computed", "steps", "used"),
    [
        # Computed steps 0, 10 and 20: half of the run each.
        ([[1, 0.5, 0]], 3, (0, 10, 20), (0,)),
        # The same density, with another budget than the list's.
        ([[1, 0.5, 0]], 5, (0, 5, 10, 15, 20), (0,)),
        ([[1, 0.9, 0.8, 0]], 7, (0, 1, 2, 3, 4, 12, 20), (0,)),
        # Dense where no denser can be: 3 computed steps in the first 2, so the others get more.
        ([[1, 0.95, 0.94, 0.93, 0.92, 0]], 6, (0, 1, 2, 8, 14, 20), (0,)),
        # One that begins later than the run is taken to begin with it.
        ([[0.5, 0.25, 0]], 3, (0, 15, 20), (0,)),
        # Half way between 3 and 5 computed steps.
        ([[1, 0.5, 0], [1, 0.95, 0.9, 0.85, 0]], 4, (0, 2, 7, 20), (0, 1)),
    ],
)
def test_densities(lists, computed, steps, used):
    assert carried_over(lists, RUN, computed) == (steps, used)


def test_a_last_stretch_of_nothing_holds_no_step_of_its_own():
    assert carried_over([[1, 0.5, 0]], [1, 0.5, 0.2, 0.1, 1e-18, 0], 3).steps == (0, 1, 5)
    # Nor when all others are full.
    assert carried_over([[1, 0.5, 0]], [1, 0.6, 0.3, 1e-18, 0], 4).steps == (0, 1, 2, 4)


def test_a_number_that_is_reached_in_the_very_middle_of_a_step_is_reached_by_it():
    """With exact numbers the first is reached in the middle of step 1; with floats the sum falls short of it."""
    places = [1 - step / 10 for step in (0, 6, 7, 8, 10)]
    assert carried_over([places], [1 - step / 6 for step in range(7)], 6).steps == (0, 1, 3, 4, 5, 6)


def test_a_run_that_starts_late_takes_the_rest_of_a_list():
    """Of the list's computed steps four are left at half the noise, so it is the list of four."""
    lists = [[1, 0.9, 0.8, 0.5, 0.45, 0.4, 0], [1, 0.6, 0.5, 0.2, 0]]
    assert carried_over(lists, RUN[10:], 4) == ((0, 1, 2, 10), (0,))
    assert carried_over(lists, RUN[10:], 3) == ((0, 6, 10), (1,))


def test_noise_levels_of_a_schedule():
    assert shifted(4, 0.0) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert shifted(4, math.log(3)) == pytest.approx([1, 9 / 10, 3 / 4, 1 / 2])
    assert shifted(4, math.log(3), terminal=0.2) == pytest.approx([1, 1 - 0.16, 1 - 0.4, 0.2])
