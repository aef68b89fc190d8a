"""Fewer steps, which every setting is held against: which numbers of them, and what does not beat them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.bench.baseline import BUDGETS, budgets, most_budgets, no_better
from mflux_teacache.bench.figures import Quality, qualities
from mflux_teacache.bench.runs import FEWER_STEPS, Case, FewerSteps, JudgedRun, Setting

STEPS = 28


def entry(computed: float, decibels: float | None, *, baseline: bool = False, name: str = "x") -> Quality:
    return Quality(
        setting=f"{FEWER_STEPS}: {computed:g}" if baseline else name,
        series=FEWER_STEPS if baseline else "x",
        forecast=0,
        images=1,
        equal=0,
        computed=computed,
        steps=STEPS,
        psnr=decibels,
        worst_psnr=decibels,
        ssim=1.0,
        worst_ssim=1.0,
        speed_up=STEPS / computed,
    )


def of(*computed: float) -> list[int]:
    return budgets([entry(number, 40) for number in computed])


def test_budgets_by_hand() -> None:
    assert of(14) == [14]
    assert of(14.4, 9.5, 14.4) == [9, 10, 14, 15]
    assert of(28, 27.5, 14) == [14, 27]
    assert of(28) == of() == []
    assert of(2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22) == [2, 6, 10, 14, 18, 22]


@given(st.lists(st.floats(1, STEPS), max_size=20))
def test_settings_lie_between_budgets(computed: list[float]) -> None:
    chosen = of(*computed)
    assert len(chosen) <= most_budgets(len(computed)) <= BUDGETS
    assert sorted(set(chosen)) == chosen
    assert all(1 <= budget < STEPS for budget in chosen)
    for number in computed:
        if number < STEPS:
            assert chosen[0] <= number
            assert chosen[-1] >= min(number, STEPS - 1)


BASELINE = [entry(10, 30, baseline=True), entry(20, 40, baseline=True), entry(24, 60, baseline=True)]


@pytest.mark.parametrize(
    ("computed", "bar"), [(10, 30), (15, 35), (17.5, 37.5), (20, 40), (21, 45), (24, 60), (27.5, 60), (5, 30)]
)
def test_the_bar_is_interpolated_at_the_computed_steps(computed: float, bar: float) -> None:
    """At or below it is no better."""
    for baseline in (BASELINE, BASELINE[::-1]):
        assert no_better([*baseline, entry(computed, bar)]) == {"x": pytest.approx(bar)}
        assert no_better([*baseline, entry(computed, bar - 9)]) == {"x": pytest.approx(bar)}
        assert no_better([*baseline, entry(computed, math.nextafter(bar, 99))]) == {}


def test_what_nothing_can_be_said_of() -> None:
    assert no_better([entry(15, 1)]) == {}
    assert no_better([*BASELINE, entry(28, None)]) == {}
    assert no_better(BASELINE) == {}


def test_images_of_fewer_steps_that_equal_the_full_run_are_not_beaten() -> None:
    assert no_better([BASELINE[0], entry(20, None, baseline=True), entry(15, 99)]) == {"x": math.inf}


def test_fewer_steps_are_a_row_with_the_steps_of_a_full_run() -> None:
    def run(row: Any, pattern: str) -> JudgedRun:
        return JudgedRun(
            setting=str(row),
            case=Case("x", 1),
            pattern=pattern,
            computed=pattern.count("C"),
            squared_error=6.5025,
            ssim=0.9,
        )

    fewer, setting = FewerSteps(2, 3), Setting("teacache")
    summary, other = qualities([fewer, setting], [run(setting, "CCSC"), run(fewer, "CC")])
    assert (summary.setting, summary.series, summary.is_baseline) == ("fewer steps: 2", "fewer steps", True)
    assert (summary.computed, summary.steps, summary.speed_up) == (2, 4, 2)
    assert (other.steps, other.is_baseline) == (4, False)
