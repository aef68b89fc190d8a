"""The pictures, drawn from made-up runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import bench_runs
import numpy as np
import PIL.Image
import pytest
from bench_runs import CASES
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from mflux_teacache.bench import figures, pictures
from mflux_teacache.bench.figures import qualities
from mflux_teacache.bench.judging import Judged
from mflux_teacache.bench.plugin_settings import default_grid
from mflux_teacache.bench.runs import FULL, Case, FewerSteps, JudgedRun, Setting, TimedRun
from mflux_teacache.drawing import LIMIT
from mflux_teacache.pieces.output_files import png_of


def look(line: Line2D) -> tuple[str, str, str]:
    return str(line.get_color()), str(line.get_linestyle()), str(line.get_markerfacecolor())


def test_the_picture_has_a_line_for_each_series(runs: list[JudgedRun]) -> None:
    summaries = qualities(default_grid(), runs)
    mean, worst = pictures.of_quality("title", summaries).axes
    series = {summary.series for summary in summaries}
    assert {line.get_label() for line in mean.lines} == {*series, "no other is better"}
    assert {line.get_label() for line in worst.lines} == series
    assert len(set(map(look, worst.lines))) == len(series)


def test_of_settings_that_compute_as_many_steps_the_line_joins_the_best(runs: list[JudgedRun]) -> None:
    patterns = {pattern: Setting("schedule", {"pattern": pattern}) for pattern in ("CSCSC", "CCSSC", "CSSSC")}
    levels = {"CSCSC": 4.0, "CCSSC": 9.0, "CSSSC": 16.0}
    drawn = [
        replace(
            runs[0], setting=str(setting), pattern=pattern, computed=pattern.count("C"), squared_error=levels[pattern]
        )
        for pattern, setting in patterns.items()
    ]
    summaries = qualities(list(patterns.values()), drawn)
    for axes in pictures.of_quality("title", summaries).axes:
        [line] = [line for line in axes.lines if line.get_label() == "schedule"]
        best, lesser, fewest = (summary.psnr for summary in summaries)
        assert line.get_ydata() == pytest.approx([best, fewest])
        [alone] = [other for other in axes.lines if other.get_linestyle() == "None"]
        assert alone.get_ydata() == pytest.approx([lesser])


def test_fewer_steps_have_a_line_of_their_own(runs: list[JudgedRun]) -> None:
    fewer = [FewerSteps(computed, computed) for computed in (3, 5)]
    baseline = [
        replace(runs[0], setting=str(row), pattern="C" * row.computed, computed=row.computed, squared_error=9.0)
        for row in fewer
    ]
    summaries = qualities([*fewer, *default_grid()], [*runs, *baseline])
    without = {line.get_label(): line for line in pictures.of_quality("title", summaries[2:]).axes[0].lines}
    mean, worst = pictures.of_quality("title", summaries).axes
    for axes in (mean, worst):
        lines = {line.get_label(): line for line in axes.lines}
        places = lines["fewer steps"].get_xydata()
        assert places[:, 0] == pytest.approx([8 / 5, 8 / 3])
        assert len(set(map(look, lines.values()))) == len(lines)
        assert lines["fewer steps"].get_color() == LIMIT
        for name, line in lines.items():  # whose colours are the same with and without it
            assert name == "fewer steps" or line.get_color() == without[name].get_color()


def test_a_setting_is_drawn_if_half_of_its_images_differ(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    draw_lines = pictures._draw_lines
    monkeypatch.setattr(
        pictures,
        "_draw_lines",
        lambda axes, entries, height: drawn.append(entries) or draw_lines(axes, entries, height),
    )
    first, second = default_grid()[:2]
    made = [
        JudgedRun(
            setting=str(setting),
            case=Case("x", seed),
            pattern="CS",
            computed=1,
            squared_error=float(seed >= equal),
            ssim=1,
        )
        for setting, equal in ((first, 2), (second, 3))
        for seed in range(4)
    ]
    pictures.of_quality("title", qualities([first, second], made))
    assert [[entry.setting for entry in entries] for entries in drawn] == [[str(first)]] * 2


def test_a_picture_of_equal_images_has_no_lines(runs: list[JudgedRun], tmp_path: Any) -> None:
    equal = [JudgedRun(setting="teacache", case=CASES[0], pattern="CC", computed=2, squared_error=0, ssim=1)]
    mean, worst = pictures.of_quality("title", qualities(default_grid()[:1], equal)).axes
    assert not [*mean.lines, *worst.lines]
    assert png_of(mean.figure).startswith(b"\x89PNG")


def test_the_sheet_shows_one_setting_of_each_series_where_there_are_many(runs: list[JudgedRun], tmp_path: Any) -> None:
    summaries = qualities(default_grid(), runs)
    assert figures.chosen(summaries[:4]) == summaries[:4]
    chosen = figures.chosen(summaries)
    assert len(chosen) == len({entry.series for entry in chosen}) <= figures.ROWS
    for entry in chosen:
        others = [other for other in summaries if other.series == entry.series]
        assert abs(entry.speed_up - 2) == min(abs(other.speed_up - 2) for other in others)
    blank = PIL.Image.new("RGB", (16, 16))
    cases = [replace(CASES[0], prompt="$5 or \\$x^{$"), CASES[1]]  # no formula, and none of matplotlib's errors
    priced = [replace(run, case=cases[CASES.index(run.case)]) for run in runs]
    thumbnails = {(label, case): blank for label in (FULL, *(entry.setting for entry in chosen[:2])) for case in cases}
    sheet = pictures.contact_sheet("$x^{$", cases, chosen[:2], Judged(runs=tuple(priced), thumbnails=thumbnails))
    assert png_of(sheet).startswith(b"\x89PNG")


def test_the_sheet_holds_fewer_steps_against_all_steps_and_leaves_out_what_is_missing(
    runs: list[JudgedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels: list[str] = []
    written: list[str] = []
    monkeypatch.setattr(pictures, "_show", lambda axes, image, label: labels.append(label))
    monkeypatch.setattr(pictures, "_write", lambda axes, text: written.append(text))
    fewer, (first, second, *_) = FewerSteps(4, 4), default_grid()
    baseline = [replace(run, setting=str(fewer), pattern="CCCC", computed=4) for run in runs[:2]]
    made = (*baseline, *runs)
    blank = PIL.Image.new("RGB", (16, 16))
    there = [(label, case) for label in (FULL, str(fewer), str(first)) for case in CASES] + [(str(second), CASES[0])]
    judged = Judged(runs=made, thumbnails=dict.fromkeys(there, blank))
    summaries = qualities([fewer, first, second], made)
    pictures.contact_sheet("t", CASES, summaries, judged)
    assert written == [
        FULL,
        "fewer steps: 4\n2.00x, mean 48.1 dB",
        f"{first}\n1.00x, mean 48.1 dB".replace(" f", "\nf"),
    ]
    assert labels[2:4] == ["48.1 dB, 4/8"] * 2


def test_the_sheet_shows_each_setting_s_own_images_and_distances(
    runs: list[JudgedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    written: list[str] = []
    monkeypatch.setattr(pictures, "_show", lambda axes, image, label: shown.append((image, label)))
    monkeypatch.setattr(pictures, "_write", lambda axes, text: written.append(text))
    first, second = default_grid()[:2]
    equal = [replace(run, squared_error=0) if run.case == CASES[0] else run for run in runs]
    summaries = qualities([first, second], equal)
    labels = (FULL, str(first), str(second))
    thumbnails = {(label, case): PIL.Image.new("RGB", (16, 16)) for label in labels for case in CASES}
    pictures.contact_sheet("t", CASES, summaries, Judged(runs=tuple(equal), thumbnails=thumbnails))
    assert [id(image) for image, _ in shown] == [id(thumbnails[label, case]) for label in labels for case in CASES]
    assert [label for _, label in shown[2:]] == ["equal, 8/8", "48.1 dB, 8/8", "equal, 7/8", "45.1 dB, 7/8"]
    assert [text.splitlines()[-1] for text in written[1:]] == [
        "1.00x, mean 48.1 dB, 1/2 equal",
        "1.14x, mean 45.1 dB, 1/2 equal",
    ]
    assert pictures._mean(qualities([first], [replace(run, squared_error=0) for run in runs])[0]) == "all equal"


def drawn(path: Path, runs: list[TimedRun]) -> np.ndarray:
    path.write_bytes(png_of(pictures.of_speed("a model", figures.speeds(runs))))
    with PIL.Image.open(path) as png:
        assert png.format == "PNG"
        return np.asarray(png.convert("RGB")).astype(int)


def count(pixels: np.ndarray, hexadecimal: str) -> int:
    colour = [int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(pixels - colour).max(axis=2) <= 2).sum())


@pytest.mark.slow
def test_skipped_steps_have_their_colour_and_ratios_their_floor(tmp_path: Path) -> None:
    runs = bench_runs.some()
    with_skips = drawn(tmp_path / "a.png", runs)
    without = drawn(tmp_path / "b.png", [run for run in runs if run.variant != "skipping"])
    assert with_skips.shape[1] == without.shape[1] == 1600
    assert with_skips.shape[0] > without.shape[0]
    assert count(with_skips, "#F7C65C") > 100
    assert count(without, "#F7C65C") == 0  # the legend has none either
    assert count(with_skips, "#B3003B") > count(without, "#B3003B") > 100


@pytest.mark.slow
def test_a_floor_is_marked_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_on: list[Any] = []
    draw_ratios = pictures._draw_ratios
    monkeypatch.setattr(
        pictures, "_draw_ratios", lambda axes, entries: drawn_on.append(axes) or draw_ratios(axes, entries)
    )
    drawn(tmp_path / "f.png", bench_runs.some())
    marks = [line.get_xdata() for line in drawn_on[0].lines if line.get_color() == LIMIT]
    assert [list(mark) for mark in marks] == [[1, 1], [1, 1], [0.5, 0.5]]


@pytest.mark.slow
def test_figures_stand_in_a_column_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no repetition's dot is beside them; and what is faster than the floor is told without a percentage."""
    saved: list[Figure] = []
    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: saved.append(figure) or savefig(figure, *a, **k))
    runs = [*bench_runs.some(), *(bench_runs.run("fast", place, "CSSC", [0.5] * 4) for place in range(2))]
    drawn(tmp_path / "f.png", runs)
    [axes] = [axes for axes in saved[0].axes if axes.get_xlabel().startswith("time of the loop")]
    assert not axes.texts
    [column] = axes.child_axes
    assert [label.get_text() for label in column.get_yticklabels()] == [
        "median 1.000",
        "median 1.250",
        "median 0.694\n1.44x, floor 2.00x",
        "median 0.450\n2.22x, floor 2.00x",
    ]
    right_of_axes = axes.get_window_extent().x1
    assert all(label.get_window_extent().x0 >= right_of_axes for label in column.get_yticklabels())


@pytest.mark.slow
def test_the_legend_explains_the_colours_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    legend = SubFigure.legend

    def noting(figure: SubFigure, *, handles: list[Any], **more: Any) -> Any:
        labels.extend(handle.get_label() for handle in handles)
        return legend(figure, handles=handles, **more)

    monkeypatch.setattr(SubFigure, "legend", noting)
    drawn(tmp_path / "a.png", bench_runs.some())
    assert labels == ["step computed", "step skipped", "plain, the same step"]
    labels.clear()
    drawn(tmp_path / "b.png", [run for run in bench_runs.some() if run.variant != "skipping"])
    assert labels == ["step computed", "plain, the same step"]


@pytest.mark.slow
def test_of_very_many_steps_the_first_are_drawn() -> None:
    runs = [bench_runs.run(name, 0, "C" * 1001, [0.1] * 1001) for name in ("plain", "all computed")]
    timeline = pictures.of_speed("a model", figures.speeds(runs)).axes[0]
    assert len([bar for bar in timeline.patches if hasattr(bar, "get_height")]) == 1000
    assert timeline.get_xlabel() == "denoising step (the first 1000 of 1001)"


@pytest.mark.slow
def test_a_longer_step_is_a_taller_bar(tmp_path: Path) -> None:
    """Also in the second row, next to a first one with short steps only."""

    def skipped_area(seconds: float) -> int:
        runs = [
            bench_runs.run("plain", 0, "CCCC", [0.1, 0.1, 0.1, 0.1]),
            bench_runs.run("all computed", 0, "CCCC", [0.1, 0.1, 0.1, 0.1]),
            bench_runs.run("skipping", 0, "CSSC", [0.1, 1.0, seconds, 0.1]),
        ]
        return count(drawn(tmp_path / "c.png", runs), "#F7C65C")

    assert skipped_area(1.0) > 1.25 * skipped_area(0.5)
