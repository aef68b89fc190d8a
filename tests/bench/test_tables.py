"""What is printed, of made-up runs."""

from __future__ import annotations

import re
from dataclasses import replace

import bench_runs

from mflux_teacache.bench import tables
from mflux_teacache.bench.figures import qualities, speeds
from mflux_teacache.bench.plugin_settings import default_grid
from mflux_teacache.bench.runs import FewerSteps, JudgedRun, TimedRun


def test_a_step_that_was_computed_in_part_counts_as_its_part() -> None:
    """In the floor and in the table; the pattern's letter says nothing of how much."""
    plain, half = bench_runs.run("plain", 0, "CCCC", [1.0] * 4), bench_runs.run("half", 0, "CSSC", [1, 0.5, 0.5, 1])
    made = speeds([plain, replace(half, computed=3.0)])
    assert (made[1].floor, made[1].reached, made[1].saved) == (0.75, 1, 1)
    assert "  3/4  " in tables.of_speed(made, [bench_runs.phase()], [])
    assert "  2.5/4  " in tables.of_speed(speeds([plain, replace(half, computed=2.5)]), [bench_runs.phase()], [])


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


def test_partly_reused_steps_have_a_column_where_there_are_any() -> None:
    def steps(pattern: str) -> tuple[list[list[str]], str]:
        partly = replace(bench_runs.run("half", 0, pattern, [1, 0.5, 0.25, 1]), computed=3.5)
        text = tables.of_speed(speeds([*made(), partly]), [bench_runs.phase()], [])
        rows = text[text.index("one step, ms") :].splitlines()[:3]
        return [[cell.strip() for cell in re.split("  +", row)] for row in rows], text

    (heading, plain, partly), text = steps("CPSC")
    assert heading == ["one step, ms", "first", "computed", "partly reused", "skipped"]
    assert (plain[-2:], partly[-2:]) == (["-", "-"], ["500.0 [500.0 to 500.0]", "250.0 [250.0 to 250.0]"])
    assert "\npartly   steps in which some guidance branches computed" in text
    (heading, *_), text = steps("CSSC")
    assert heading == ["one step, ms", "first", "computed", "skipped"]
    assert "\npartly " not in text


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


def test_what_a_plugin_has_chosen_stands_above_all_and_in_the_figures(runs: list[JudgedRun]) -> None:
    """Each choice once."""
    *others, last = made("auto", pattern="CSSC")
    summaries = speeds([*others, *(replace(last, told=told) for told in ("sea: a rule", "schedule: a plan", None) * 2)])
    lines = tables.of_speed(summaries, [bench_runs.phase()], []).splitlines()
    assert [line for line in lines if " chose " in line] == ["auto chose sea: a rule", "auto chose schedule: a plan"]
    summary = qualities(default_grid()[:1], [replace(run, told="sea: a rule") for run in runs])
    assert summary[0].told == ("sea: a rule",)
    assert tables.of_quality(summary, {}, {}).startswith(f"{summary[0].setting} chose sea: a rule\n\n ")


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


def test_the_table(runs: list[JudgedRun]) -> None:
    summaries = qualities(default_grid(), runs)[:2]
    heading, first, second, *_ = tables.of_quality(summaries, {}, {}).splitlines()
    assert heading.split() == ["setting", "computed", "speed-up", "equal", "PSNR", "worst", "SSIM", "worst"]
    assert first.split() == [
        *("*", *summaries[0].setting.split(), "8.0/8", "1.00x", "0/2", "48.1", "48.1", "0.9000", "0.9000")
    ]
    assert second.index("7.0/8") == first.index("8.0/8")
    assert tables.of_quality(summaries, {"x y=1": "no"}, {}).startswith("refused: x y=1: no\n\n ")
    [none] = qualities(default_grid()[:1], [replace(run, squared_error=0) for run in runs])
    assert tables.of_quality([none], {}, {}).splitlines()[1].split()[-5:] == ["2/2", "-", "-", "0.9000", "0.9000"]


def test_what_does_not_beat_fewer_steps_is_said_below_the_table(runs: list[JudgedRun]) -> None:
    """The settings' runs have 48.1 dB with 8 of 8 steps, 45.1 with 7, 43.4 with 6, 42.1 with 5 and so on."""
    first, second, *_ = grid = default_grid()
    fewer = [FewerSteps(6, 6), FewerSteps(7, 7)]

    def text(error: float) -> str:
        drawn = [
            replace(runs[0], setting=str(row), case=run.case, pattern="C" * row.computed, computed=row.computed)
            for row in fewer
            for run in runs[:2]
        ]
        made = [*runs, *(replace(run, squared_error=error) for run in drawn)]
        return tables.of_quality(qualities([*fewer, *grid[:2]], made), {}, {})

    assert "\nEvery setting beats them at the same number of computed steps, by mean PSNR.\n" in text(9.0)
    said = (
        "\n2 of 2 settings do not beat them at the same number of computed steps, by mean PSNR:\n"
        f"  {first}: 48.1 dB, where fewer steps have 51.1 dB\n  {second}: 45.1 dB, where fewer steps have 51.1 dB\n\n"
    )
    assert said in text(0.5)
    assert (
        f"\n1 of 2 settings do not beat them at the same number of computed steps, by mean PSNR:\n  {second}: "
        in text(1.5)
    )
    assert text(9.0).splitlines()[1].split()[1:8] == ["fewer", "steps:", "6", "6.0/8", "1.33x", "0/2", "38.6"]
    assert "ewer steps" not in tables.of_quality(qualities(grid[:2], runs), {}, {})


def test_durations_for_people() -> None:
    assert [tables.duration(seconds) for seconds in (0.43, 9.94, 59.4, 61, 3570, 12_000)] == [
        *("0.43 s", "9.9 s", "59 s", "1 min", "1 h 0 min", "3 h 20 min"),
    ]
