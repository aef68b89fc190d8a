"""The real command in a process of its own, and the pictures."""

import json
from typing import Any

import PIL.Image
import pytest

from mflux_teacache.bench.quality import picture, report, sheet
from mflux_teacache.bench.quality.measure import FULL
from mflux_teacache.bench.quality.runs import Case, Refusal, Run
from mflux_teacache.bench.quality.settings import default_grid
from mflux_teacache.bench.quality.summary import summarise

CASES = [Case("a red ring on blue", 1), Case("a green cross on a white background", 2)]


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [
        Run(
            setting=str(setting),
            case=case,
            pattern="C" * (8 - place % 6) + "S" * (place % 6),
            squared_error=1.0 + place,
            ssim=0.9,
        )
        for place, setting in enumerate(default_grid())
        for case in CASES
    ]


@pytest.mark.parametrize("module", [("mflux-teacache", "bench"), ("python", "-m", "mflux_teacache.bench")])
def test_the_command(module: tuple[str, ...], commands: Any) -> None:
    settings = ("schedule every=2", "schedule pattern=CSCC", "teacache thresh=0")
    words = [word for setting in settings for word in ("--setting", setting)]
    size = ("--prompts", "2", "--seeds", "1", "--steps", "3", "--size", "32x32")
    files = ("--json", "q.json", "--png", "q.png", "--sheet", "s.png")
    ran = commands.run(*module, "quality", *words, *size, *files)
    assert ran.code == 0, ran.err
    assert "refused: schedule pattern=CSCC: " in ran.out
    [scheduled] = [line.split() for line in ran.out.splitlines() if "schedule every=2" in line]
    assert scheduled[:5] == ["*", "schedule", "every=2", "2.0/3", "1.50x"]

    content = json.loads((commands.folder / "q.json").read_text())
    assert content["schema"] == 1
    assert content["arguments"] == {"num_inference_steps": 3, "width": 32, "height": 32, "guidance": 2.5}
    assert [run["pattern"] for run in content["runs"]] == ["CSC", "CSC", "CCC", "CCC"]
    skipping, computing = content["summary"]
    assert skipping["equal"] == 0
    assert skipping["worst_psnr"] <= skipping["psnr"] < 80
    assert (computing["equal"], computing["psnr"], computing["ssim"]) == (2, None, pytest.approx(1))
    assert [refusal["setting"] for refusal in content["refusals"]] == ["schedule pattern=CSCC"]
    for name in ("q.png", "s.png"):
        with PIL.Image.open(commands.folder / name) as drawn:
            assert drawn.width > 800


def test_a_run_with_nothing_but_refusals_fails(commands: Any) -> None:
    ran = commands.run(
        *("mflux-teacache", "bench", "quality", "--setting", "schedule pattern=CSC"),
        *("--prompts", "1", "--seeds", "1", "--steps", "2", "--size", "32x32"),
    )
    assert ran.code == 1


def test_the_picture_has_a_line_for_each_series(
    runs: list[Run], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(picture, "Figure", lambda **sizes: figures.append(Figure(**sizes)) or figures[-1])
    from matplotlib.figure import Figure

    summaries = summarise(default_grid(), runs)
    picture.draw(tmp_path / "q.png", title="title", summaries=summaries)
    mean, worst = figures[0].axes
    series = {summary.series for summary in summaries}
    assert {line.get_label() for line in mean.lines} == {*series, "no other is better"}
    assert {line.get_label() for line in worst.lines} == series
    assert len({(line.get_color(), line.get_linestyle()) for line in worst.lines}) == len(series)


def test_a_picture_of_equal_images_has_no_lines(runs: list[Run], tmp_path: Any) -> None:
    equal = [Run(setting="teacache", case=CASES[0], pattern="CC", squared_error=0, ssim=1)]
    picture.draw(tmp_path / "q.png", title="title", summaries=summarise(default_grid()[:1], equal))
    assert (tmp_path / "q.png").exists()


def test_the_sheet_shows_one_setting_of_each_series_where_there_are_many(runs: list[Run], tmp_path: Any) -> None:
    summaries = summarise(default_grid(), runs)
    assert sheet.chosen(summaries[:4]) == summaries[:4]
    chosen = sheet.chosen(summaries)
    assert len(chosen) == len({entry.series for entry in chosen}) <= sheet.ROWS
    for entry in chosen:
        others = [other for other in summaries if other.series == entry.series]
        assert abs(entry.speed_up - 2) == min(abs(other.speed_up - 2) for other in others)
    blank = PIL.Image.new("RGB", (16, 16))
    thumbnails = {(label, case): blank for label in (FULL, *(entry.setting for entry in chosen[:2])) for case in CASES}
    sheet.draw(tmp_path / "s.png", title="title", cases=CASES, summaries=chosen[:2], runs=runs, thumbnails=thumbnails)
    assert (tmp_path / "s.png").exists()


def test_the_table(runs: list[Run]) -> None:
    summaries = summarise(default_grid(), runs)[:2]
    heading, first, second, *_ = report.table(summaries).splitlines()
    assert heading.split() == ["setting", "computed", "speed-up", "PSNR", "worst", "SSIM", "worst"]
    assert first.split() == ["*", *summaries[0].setting.split(), "8.0/8", "1.00x", "48.1", "48.1", "0.9000", "0.9000"]
    assert second.index("7.0/8") == first.index("8.0/8")
    assert report.refused([Refusal("x y=1", "no")]) == "refused: x y=1: no"
    assert report.spell(None) == "equal"
