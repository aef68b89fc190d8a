"""The real command in a process of its own, and the pictures."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image
import pytest
from mflux.utils.exceptions import StopImageGenerationException

from mflux_teacache.bench import pictures, quality, tables, variants
from mflux_teacache.bench.figures import qualities
from mflux_teacache.bench.judging import FULL, Judged, judge
from mflux_teacache.bench.plugin_settings import default_grid
from mflux_teacache.bench.runs import Case, JudgedRun, Setting
from mflux_teacache.bench.settings import ImageSettings
from mflux_teacache.bench.subjects import subject_of
from mflux_teacache.cli.own.main import main
from mflux_teacache.demo.model import DemoKlein
from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.output_files import png_of

CASES = [Case("a red ring on blue", 1), Case("a green cross on a white background", 2)]


@pytest.fixture(scope="module")
def runs() -> list[JudgedRun]:
    return [
        JudgedRun(
            setting=str(setting),
            case=case,
            pattern="C" * (8 - place % 6) + "S" * (place % 6),
            computed=8 - place % 6,
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
    assert "\n8 images to draw: 2 with every step, and 6 with the settings." in ran.out
    assert "\nno image skipped anything: teacache thresh=0: teacache: computed 3 of 3 steps, skipped none (" in ran.out
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
    assert list(content["skipped_nothing"]) == ["teacache thresh=0"]
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


def test_the_picture_has_a_line_for_each_series(runs: list[JudgedRun]) -> None:
    summaries = qualities(default_grid(), runs)
    mean, worst = pictures.of_quality("title", summaries).axes
    series = {summary.series for summary in summaries}
    assert {line.get_label() for line in mean.lines} == {*series, "no other is better"}
    assert {line.get_label() for line in worst.lines} == series
    assert len({(line.get_color(), line.get_linestyle()) for line in worst.lines}) == len(series)


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
    assert pictures.chosen(summaries[:4]) == summaries[:4]
    chosen = pictures.chosen(summaries)
    assert len(chosen) == len({entry.series for entry in chosen}) <= pictures.ROWS
    for entry in chosen:
        others = [other for other in summaries if other.series == entry.series]
        assert abs(entry.speed_up - 2) == min(abs(other.speed_up - 2) for other in others)
    blank = PIL.Image.new("RGB", (16, 16))
    cases = [replace(CASES[0], prompt="$5 or \\$x^{$"), CASES[1]]  # no formula, and none of matplotlib's errors
    priced = [replace(run, case=cases[CASES.index(run.case)]) for run in runs]
    thumbnails = {(label, case): blank for label in (FULL, *(entry.setting for entry in chosen[:2])) for case in cases}
    sheet = pictures.contact_sheet("$x^{$", cases, chosen[:2], Judged(runs=tuple(priced), thumbnails=thumbnails))
    assert png_of(sheet).startswith(b"\x89PNG")


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--first-seed", "-1"], "--first-seed is -1; it must be a whole number from 0"),
        (["--prompts", "/dev/zero"], "--prompts is /dev/zero, which cannot be read: it is a device, and only regular"),
        (["--prompts", "5000000"], "--prompts is 5000000; it must be a whole number from 1 to 10000"),
        (["--png", "a.jpg"], "--png is a.jpg; its name must end in .png. Try --png a.png."),
        (["--sheet", "a.webp"], "--sheet is a.webp; its name must end in .png. Try --sheet a.png."),
        (["--png", "a.png", "--sheet", "./a.png"], "--png and --sheet both are a.png"),
        (["--patterns", "CCS", "--steps", "4"], "--patterns CCS has 3 letters for 4 steps"),
        (["--setting", "teacache thresh"], "--teacache-thresh takes a value; True says only on or off"),
        (["--guidance", "nan"], "--guidance is nan; it must be a finite number"),
    ],
)
def test_values_that_are_not_allowed(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bench", "quality", *words])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_a_file_of_more_prompts_than_anybody_draws(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("\n".join(map(str, range(10_001))))
    with pytest.raises(OptionError, match=r"many\.txt, which has 10001; 10000 are allowed\. Take some out\."):
        quality._prompts(str(path), demo=False)


SETTINGS = [Setting("schedule", {"every": "2"}), Setting("schedule", {"pattern": "CSCS"})]


@pytest.fixture
def subject() -> Any:
    return subject_of(ImageSettings(steps=4, width=32, height=32))


def test_runs_are_compared_with_their_full_run(subject: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step is skipped an image of another grey comes out."""
    greys = iter([100, 120, 101, 124])
    monkeypatch.setattr(
        DemoKlein,
        "generate_image",
        lambda model, **arguments: SimpleNamespace(image=PIL.Image.new("RGB", (32, 32), (next(greys),) * 3)),
    )
    monkeypatch.setattr(variants, "attach_requests", attached)
    cases = CASES[:2]
    made = judge(subject, cases, SETTINGS[:1], cases)
    assert [(run.case, run.squared_error) for run in made.runs] == [(cases[0], 1), (cases[1], 16)]
    assert made.thumbnails[FULL, cases[0]].getpixel((0, 0)) == (100, 100, 100)
    assert made.thumbnails["schedule every=2", cases[1]].getpixel((0, 0)) == (124, 124, 124)


@contextlib.contextmanager
def attached(*_: Any, **more: Any) -> Iterator[Any]:
    stats = SimpleNamespace(pattern="CSCS", skipped_count=2, cost=2.0, decisions=())
    yield SimpleNamespace(stats=SimpleNamespace(last_generation=stats))


@pytest.mark.parametrize(("images", "whole"), [(4, 1), (5, 1), (6, 2), (3, None)])
@pytest.mark.parametrize("error", [KeyboardInterrupt, StopImageGenerationException])
def test_ctrl_c_keeps_the_whole_settings(
    subject: Any, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], images: int, whole: int | None
) -> None:
    made: list[dict[str, Any]] = []

    def generate_image(model: Any, **arguments: Any) -> Any:
        if len(made) == images:
            raise error
        made.append(arguments)
        return SimpleNamespace(image=PIL.Image.new("RGB", (32, 32)))

    monkeypatch.setattr(DemoKlein, "generate_image", generate_image)
    monkeypatch.setattr(variants, "attach_requests", attached)
    three = [*SETTINGS, Setting("schedule", {"ratio": "0.5"})]
    if whole is None:
        with pytest.raises(error):
            judge(subject, CASES, three, [])
        return
    measured = judge(subject, CASES, three, [])
    assert measured.interrupted
    assert list(dict.fromkeys(run.setting for run in measured.runs)) == [str(setting) for setting in three[:whole]]
    assert len(measured.runs) == whole * len(CASES)
