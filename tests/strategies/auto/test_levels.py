"""How many steps a level computes, and how many there is time for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from mflux_teacache.strategies.auto.levels import LEVELS, Pace, of_level

SECONDS = some.floats(0.001, 1000)


def test_levels() -> None:
    assert {level: of_level(level, 28) for level in LEVELS} == {"quality": 18, "balanced": 14, "fast": 9}
    assert {level: of_level(level, 3) for level in LEVELS} == dict.fromkeys(LEVELS, 2)


@given(active=some.integers(3, 1000), level=some.sampled_from([*LEVELS]))
def test_a_level_always_skips_and_computes_both_ends(active: int, level: str) -> None:
    assert 2 <= of_level(level, active) < active


def pace(computed: list[float], skipped: list[float]) -> Pace:
    made = Pace()
    for taken, cost in ((computed, 1.0), (skipped, 0.0)):
        for seconds in taken:
            made.note(seconds, cost, first=False)
    return made


def test_nothing_is_known_before_a_step_was_computed() -> None:
    assert Pace().affords(10, 5) is None
    assert pace([], [0.1]).affords(10, 5) is None


def test_the_first_step_of_an_image_and_partly_reused_ones_tell_nothing() -> None:
    made = Pace()
    made.note(9.0, 1.0, first=True)
    made.note(0.5, 0.5, first=False)
    assert made.affords(10, 5) is None


def test_what_there_is_time_for() -> None:
    assert pace([1.0], []).affords(4.4, 10) == 4
    assert pace([1.0, 2.0, 9.0], []).affords(4.1, 10) == 2  # the median is 2
    assert pace([1.0], [0.5]).affords(7.0, 10) == 4  # 4 computed and 6 skipped are 7.0
    assert pace([1.0], [0.5]).affords(1e308, 10) == 10
    assert pace([1.0], [2.0]).affords(0.0, 10) == 10  # nothing is gained by skipping


def test_a_machine_that_gets_slower_is_followed() -> None:
    assert pace([1.0] * 100 + [2.0] * 3, []).affords(8.0, 10) == 4


@given(some.lists(SECONDS, min_size=1), some.lists(SECONDS), some.floats(-1000, 1000), some.integers(0, 50))
def test_it_is_between_none_and_all_and_grows_with_the_time(
    computed: list[float], skipped: list[float], left: float, steps: int
) -> None:
    made = pace(computed, skipped)
    affords = made.affords(left, steps)
    assert affords is not None
    assert 0 <= affords <= steps
    assert affords <= (made.affords(left + 10, steps) or 0)
