"""The picture, drawn from made-up runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bench_runs
import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure, SubFigure

from mflux_teacache.bench import figures, pictures
from mflux_teacache.bench.runs import TimedRun
from mflux_teacache.drawing import LIMIT
from mflux_teacache.pieces.output_files import png_of

pytestmark = pytest.mark.slow


def drawn(path: Path, runs: list[TimedRun]) -> np.ndarray:
    path.write_bytes(png_of(pictures.of_speed("a model", figures.speeds(runs))))
    with PIL.Image.open(path) as png:
        assert png.format == "PNG"
        return np.asarray(png.convert("RGB")).astype(int)


def count(pixels: np.ndarray, hexadecimal: str) -> int:
    colour = [int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(pixels - colour).max(axis=2) <= 2).sum())


def test_skipped_steps_have_their_colour_and_ratios_their_floor(tmp_path: Path) -> None:
    runs = bench_runs.some()
    with_skips = drawn(tmp_path / "a.png", runs)
    without = drawn(tmp_path / "b.png", [run for run in runs if run.variant != "skipping"])
    assert with_skips.shape[1] == without.shape[1] == 1600
    assert with_skips.shape[0] > without.shape[0]
    assert count(with_skips, "#F7C65C") > 100
    assert count(without, "#F7C65C") == 0  # the legend has none either
    assert count(with_skips, "#B3003B") > count(without, "#B3003B") > 100


def test_a_floor_is_marked_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_on: list[Any] = []
    draw_ratios = pictures._draw_ratios
    monkeypatch.setattr(
        pictures, "_draw_ratios", lambda axes, entries: drawn_on.append(axes) or draw_ratios(axes, entries)
    )
    drawn(tmp_path / "f.png", bench_runs.some())
    marks = [line.get_xdata() for line in drawn_on[0].lines if line.get_color() == LIMIT]
    assert [list(mark) for mark in marks] == [[1, 1], [1, 1], [0.5, 0.5]]


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
