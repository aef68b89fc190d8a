"""Figures made of runs, by hand and as properties."""

from __future__ import annotations

import bench_runs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.bench.figures import Quality, Spread, pareto, qualities, speeds
from mflux_teacache.bench.runs import Case, JudgedRun, Setting

SECONDS = st.floats(0.01, 100)


def test_the_figures_of_each_variant() -> None:
    plain, computed, skipping = speeds(bench_runs.some())
    assert [plain.variant, computed.variant, skipping.variant] == ["plain", "all computed", "skipping"]
    assert plain.ratios == (1.0, 1.0)
    assert (plain.floor, plain.reached, plain.saved) == (1.0, 1.0, None)
    assert computed.ratios == (1.0, 1.5)
    assert computed.ratio == Spread(1.25, 1.0, 1.5)
    assert computed.reached == pytest.approx(0.8)
    # 3.5 of 5 seconds and 2.75 of 4.
    assert skipping.ratios == (0.7, 0.6875)
    assert skipping.ratio.median == pytest.approx(0.69375)
    assert skipping.floor == 0.5
    assert skipping.reached == pytest.approx(0.5 / 0.69375)
    assert skipping.saved == pytest.approx((1 - 0.69375) / 0.5)
    assert skipping.loop == Spread(3.125, 2.75, 3.5)


def test_steps_are_told_apart_and_the_first_one_is_apart() -> None:
    plain, _, skipping = speeds(bench_runs.some())
    assert plain.first_step == Spread(1.5, 1, 2)
    assert plain.computed_step == Spread(1, 1, 1)
    assert plain.skipped_step is None
    assert skipping.computed_step == Spread(1, 1, 1)
    assert skipping.skipped_step == Spread(0.25, 0.25, 0.5)
    assert skipping.step_seconds == (1.5, 0.375, 0.25, 1)


def test_partly_reused_steps_are_neither_computed_nor_skipped() -> None:
    plain = bench_runs.run("plain", 0, "CCCC", [1, 1, 1, 1])
    made = speeds([plain, bench_runs.run("partly", 0, "CPPS", [2, 0.5, 0.75, 0.25])])[1]
    assert (made.computed_step, made.skipped_step) == (None, Spread(0.25, 0.25, 0.25))
    assert made.partial_step == Spread(0.625, 0.5, 0.75)


def test_memory_is_the_largest_of_all_runs() -> None:
    plain, computed, _ = speeds(bench_runs.some())
    assert plain.peak_bytes == {"encode": 3, "loop": 7, "decode": 3}
    assert computed.peak_bytes["loop"] == 3
    assert plain.active_bytes == {"encode": 2, "loop": 2, "decode": 2}


def test_one_bad_run_is_enough_to_be_not_finite() -> None:
    assert [entry.finite for entry in speeds(bench_runs.some())] == [True, True, False]


@given(st.lists(SECONDS, min_size=1, max_size=9))
def test_a_spread_holds_its_values(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.low == min(values)
    assert spread.high == max(values)
    assert spread.low <= spread.median <= spread.high
    assert sum(value <= spread.median for value in values) * 2 >= len(values)
    assert sum(value >= spread.median for value in values) * 2 >= len(values)


@given(SECONDS, st.integers(1, 19), st.floats(0.01, 0.5))
def test_what_was_reached_of_the_floor(plain: float, skipped: int, overhead: float) -> None:
    floor = (20 - skipped) / 20

    def reached(seconds: float, pattern: str) -> tuple[float, float | None]:
        runs = [
            bench_runs.run(variant, 0, letters, [loop / 20] * 20)
            for variant, letters, loop in (("plain", "C" * 20, plain), ("other", pattern, seconds))
        ]
        _, other = speeds(runs)
        return other.reached, other.saved

    pattern = "C" * (20 - skipped) + "S" * skipped
    assert reached(plain * floor, pattern) == pytest.approx((1, 1))
    assert reached(plain, pattern) == pytest.approx((floor, 0))
    assert reached(plain, "C" * 20)[1] is None
    slower, saved = reached(plain * floor * (1 + overhead), pattern)
    assert slower == pytest.approx(1 / (1 + overhead))
    assert saved is not None
    assert saved < 1


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=6))
def test_each_run_is_held_against_the_plain_one_of_its_repetition(pairs: list[tuple[float, float]]) -> None:
    runs = [
        bench_runs.run(variant, repetition, "CC", [seconds / 2, seconds / 2])
        for repetition, pair in enumerate(pairs)
        for variant, seconds in zip(("plain", "other"), pair, strict=True)
    ]
    _, other = speeds(runs)
    assert other.ratios == pytest.approx([seconds / plain for plain, seconds in pairs])


SETTING = Setting("teacache", {"thresh": "0.2"})


def run(
    setting: Setting = SETTING, pattern: str = "CCSC", error: float = 6.5025, ssim: float = 0.9, seed: int = 1
) -> JudgedRun:
    return JudgedRun(
        setting=str(setting),
        case=Case("x", seed),
        pattern=pattern,
        computed=pattern.count("C"),
        squared_error=error,
        ssim=ssim,
    )


def entry(speed_up: float, decibels: float | None) -> Quality:
    return Quality(
        setting=f"x at={speed_up}",
        series="x",
        forecast=0,
        images=1,
        equal=0,
        computed=100 / speed_up,
        steps=100,
        psnr=decibels,
        worst_psnr=decibels,
        ssim=1.0,
        worst_ssim=1.0,
        speed_up=speed_up,
    )


def test_mean_and_worst() -> None:
    runs = [run(ssim=0.9), run(pattern="CSSC", error=65.025, ssim=0.7, seed=2)]
    [summary] = qualities([SETTING], runs)
    assert (summary.psnr, summary.worst_psnr) == (pytest.approx(35), pytest.approx(30))
    assert (summary.ssim, summary.worst_ssim) == (pytest.approx(0.8), 0.7)
    assert (summary.images, summary.equal, summary.computed, summary.steps) == (2, 0, 2.5, 4)
    assert summary.speed_up == 1.6


def test_equal_images_are_counted_and_not_averaged() -> None:
    [some] = qualities([SETTING], [run(), run(error=0, seed=2)])
    assert (some.equal, some.psnr) == (1, pytest.approx(40))
    [none] = qualities([SETTING], [run(error=0)])
    assert (none.equal, none.psnr, none.worst_psnr) == (1, None, None)


def test_each_setting_has_its_own_and_one_without_runs_none() -> None:
    other = Setting("schedule", {"every": "2", "forecast": "1"}, 1)
    refused = Setting("magcache")
    summaries = qualities([other, refused, SETTING], [run(), run(other, error=65.025)])
    assert [(summary.setting, round(summary.psnr or 0)) for summary in summaries] == [
        ("schedule every=2 forecast=1", 30),
        ("teacache thresh=0.2", 40),
    ]
    assert [summary.forecast for summary in summaries] == [1, 0]


def test_pareto_by_hand() -> None:
    slow, beaten, middle, fast, same = entry(1.5, 50), entry(1.8, 40), entry(2, 45), entry(3, 30), entry(3, 20)
    assert pareto([beaten, fast, same, slow, middle]) == [slow, middle, fast]
    assert pareto([entry(1.2, None), slow])[0].psnr is None
    assert pareto([]) == []


@given(st.lists(st.tuples(st.floats(1, 10), st.floats(10, 90)), min_size=1, max_size=12))
def test_pareto_leaves_out_exactly_what_is_beaten(places: list[tuple[float, float]]) -> None:
    entries = [entry(*place) for place in places]
    best = pareto(entries)

    def beats(one: Quality, other: Quality) -> bool:
        mine, theirs = (one.speed_up, one.psnr), (other.speed_up, other.psnr)
        return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))

    for one in entries:
        beaten = any(beats(other, one) for other in entries)
        assert beaten != any((kept.speed_up, kept.psnr) == (one.speed_up, one.psnr) for kept in best)
