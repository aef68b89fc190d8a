"""From runs to figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.bench.figures import Quality, pareto, qualities
from mflux_teacache.bench.runs import Case, JudgedRun, Setting

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


def test_series() -> None:
    assert SETTING.series == "teacache"
    assert Setting("teacache", {"thresh": "0.3", "forecast": "0"}).series == "teacache"
    assert Setting("teacache", {"thresh": "0.3", "forecast": "2"}, 2).series == "teacache, quadratic"


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
