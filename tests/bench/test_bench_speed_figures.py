"""Figures made of runs, by hand and as properties."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import bench_runs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.bench import tables, turns
from mflux_teacache.bench.figures import Spread, speeds
from mflux_teacache.bench.runs import TimedRun

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


def test_a_step_that_was_computed_in_part_counts_as_its_part() -> None:
    """In the floor and in the table; the pattern's letter says nothing of how much."""
    plain, half = bench_runs.run("plain", 0, "CCCC", [1.0] * 4), bench_runs.run("half", 0, "CSSC", [1, 0.5, 0.5, 1])
    made = speeds([plain, replace(half, computed=3.0)])
    assert (made[1].floor, made[1].reached, made[1].saved) == (0.75, 1, 1)
    assert "  3/4  " in tables.of_speed(made, [bench_runs.phase()], [])
    assert "  2.5/4  " in tables.of_speed(speeds([plain, replace(half, computed=2.5)]), [bench_runs.phase()], [])


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=6))
def test_each_run_is_held_against_the_plain_one_of_its_repetition(pairs: list[tuple[float, float]]) -> None:
    runs = [
        bench_runs.run(variant, repetition, "CC", [seconds / 2, seconds / 2])
        for repetition, pair in enumerate(pairs)
        for variant, seconds in zip(("plain", "other"), pair, strict=True)
    ]
    _, other = speeds(runs)
    assert other.ratios == pytest.approx([seconds / plain for plain, seconds in pairs])


def test_runs_go_through_json() -> None:
    for run in bench_runs.some():
        assert turns._from_json(json.loads(json.dumps(asdict(run)))) == run


def test_the_tables() -> None:
    runs = bench_runs.some()
    text = tables.of_speed(speeds(runs), [bench_runs.phase(4.0, 3 * 2**30, 2**30)], [])
    lines = [line.split() for line in text.splitlines()]
    assert next(line[:11] for line in lines if line[:2] == ["skipping", "2/4"]) == [
        "skipping",
        "2/4",
        "3.125",
        "[2.750",
        "to",
        "3.500]",
        "0.694",
        "[0.688",
        "to",
        "0.700]",
        "0.500",
    ]
    assert "all computed, pair by pair: 1.000  1.500" in text
    assert ["plain", "1500.0", "[1000.0", "to", "2000.0]", "1000.0", "[1000.0", "to", "1000.0]", "-"] in lines
    assert "loading the model took 4.0 s, peak 3.00 GiB, 1.00 GiB after it" in text


def made(*variants: str, pattern: str = "CSSC") -> list[TimedRun]:
    runs = [bench_runs.run("plain", 0, "CCCC", [1, 1, 1, 1])]
    return [*runs, *(bench_runs.run(variant, 0, pattern, [1, 0.25, 0.25, 1]) for variant in variants)]


ABOVE = "Above 100%: computed steps were shorter than those of plain"


def test_only_rows_that_are_there_are_explained() -> None:
    def legend(*variants: str) -> str:
        return tables.legend(speeds(made(*variants)))

    assert legend("teacache").startswith("loop ")
    both = legend("all computed", "skipping").splitlines()
    assert [line.split(":")[0] for line in both[:2]] == ["all computed", "skipping"]
    assert "skipping: " not in legend("all computed", "teacache")
    compiled = legend("all computed", "all computed, blocks compiled").splitlines()
    assert [line.split(":")[0] for line in compiled[:2]] == ["all computed", "blocks compiled"]


def test_shares_of_what_skipping_gives_are_those_of_rows_that_skip() -> None:
    def table(pattern: str) -> tuple[list[str], str]:
        text = tables.of_speed(speeds(made("teacache", pattern=pattern)), [bench_runs.phase()], [])
        [row] = [line.split() for line in text.splitlines() if line.startswith("teacache ") and "/4" in line]
        return row[-2:], text

    assert table("CSSC")[0] == ["80.0%", "75.0%"]
    shares, text = table("CCCC")
    assert shares == ["-", "-"]
    assert "\nreached  " not in text


def test_more_than_was_possible_is_explained_where_it_is() -> None:
    def text(seconds: float) -> str:
        runs = [*made(), bench_runs.run("fast", 0, "CSSC", [seconds] * 4)]
        return tables.of_speed(speeds(runs), [bench_runs.phase()], [])

    assert "111.1%" in text(0.45)
    assert ABOVE in text(0.45)
    assert ABOVE not in text(0.5)
    assert ABOVE not in text(0.50001)


def test_why_nothing_was_skipped_stands_below_the_ratios() -> None:
    *others, last = made("teacache", pattern="CCCC")
    summaries = speeds([*others, replace(last, note="teacache: why")])
    assert tables.of_speed(summaries, [bench_runs.phase()], []).splitlines().count("teacache: why") == 1
    _, entry = speeds([*others, *(replace(last, note=note) for note in ("a", None, "a", "b"))])
    assert entry.notes == ("a", "b")


def test_what_the_first_image_takes_once() -> None:
    """Of several processes the median."""
    names = ("plain", "all computed", "skipping")
    seconds = {"plain": (9, 1), "all computed": (4, 3), "skipping": (2.75, 0)}
    first = [bench_runs.run(name, -1, "C", [seconds[name][place]]) for place in range(2) for name in names]
    load = bench_runs.phase()
    text = tables.of_speed(speeds(bench_runs.some()), [load], first)
    begin = text.index("the first image")
    assert [line.split() for line in text[begin:].splitlines()[:4]] == [
        ["the", "first", "image,", "to", "warm", "up", "loop,", "s", "beyond", "the", "others"],
        ["plain", "5.000", "+0.500"],  # the others' median is 4.5
        ["all", "computed", "3.500", "-2.000"],
        ["skipping", "1.375", "-1.750"],
    ]
    assert "the first image" not in tables.of_speed(speeds(bench_runs.some()), [load], [])


def test_a_line_for_each_repetition() -> None:
    *_, run = bench_runs.some()
    words = tables.run_line(run, ["plain", "skipping"]).split()
    assert words == ["skipping", "2", "0.100", "2.750", "0.200", "0.00", "GiB", "CSSC", "NOT", "FINITE"]
    assert len(tables.run_heading(["plain", "skipping"])) <= len(tables.run_line(run, ["plain", "skipping"]))
