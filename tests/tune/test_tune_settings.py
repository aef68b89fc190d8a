"""What the command line asks for, and what is refused before anything loads: in one clear line, with nothing lost."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from mflux_teacache.cli.own.main import build_parser, main
from mflux_teacache.demo.prompts import FITTED
from mflux_teacache.errors import Refused
from mflux_teacache.pieces import output_files
from mflux_teacache.presets import store
from mflux_teacache.tune import folder as folders
from mflux_teacache.tune.prompts import PROMPTS
from mflux_teacache.tune.session import Session
from mflux_teacache.tune.settings import TuneSettings, settings_of
from mflux_teacache.tune.tuning import asked_work


def parsed(*words: str) -> argparse.Namespace:
    return build_parser().parse_args(["tune", *words])


def asked(*words: str) -> TuneSettings:
    return settings_of(parsed(*words))


def test_the_defaults() -> None:
    settings = asked("--model", "dev")
    assert settings.budgets == (18, 14, 11, 9)
    assert [case.prompt for case in settings.cases] == list(PROMPTS[:3])
    assert len({case.seed for case in settings.cases}) == 3


def test_the_built_in_prompts_are_24_different_ones() -> None:
    assert len({*PROMPTS}) == 24
    assert [case.prompt for case in asked("--model", "dev", "--prompts", "24").cases] == list(PROMPTS)


def test_the_demo_has_prompts_of_its_own_of_which_more_go_on_from_fewer() -> None:
    few, many = (asked("--demo", "--prompts", count).cases for count in ("3", "7"))
    assert many[:3] == few
    assert {case.prompt for case in many}.isdisjoint({*FITTED, *PROMPTS})


@pytest.mark.parametrize("count", range(2, 9))
def test_help_says_how_many_prompts_are_kept_apart(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(asked_work(asked("--demo", "--prompts", str(count))).checked) == count // 2
    with pytest.raises(SystemExit):
        parsed("--help")
    assert "half of them, rounded down, are kept apart for the check" in " ".join(capsys.readouterr().out.split())


def test_prompts_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a cat\n\na dog\n")
    assert [case.prompt for case in asked("--model", "dev", "--prompts", str(file)).cases] == ["a cat", "a dog"]


def test_where_an_input_image_leaves_too_few_steps_it_says_how_many_are_enough(tmp_path: Path) -> None:
    image = tmp_path / "photo.png"
    PIL.Image.new("RGB", (32, 32)).save(image)
    words = ["--model", "dev", "--image-path", str(image), "--image-strength", "0.8", "--steps"]
    with pytest.raises(Refused, match=r"--steps 28 runs 6 steps, .* Give --steps 46 or more, or a lower --image-str"):
        asked(*words, "28")
    assert asked(*words, "46").image.active_steps == 10


def test_speed_ups_of_the_same_number_of_steps_are_one(tmp_path: Path) -> None:
    assert asked("--demo", "--speedups", "2,2.05,3", "--steps", "20").budgets == (10, 9, 6)
    assert asked("--demo", "--speedups", "2,2.01", "--steps", "21").budgets == (10,)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no model is named. Give --model, as for mflux-generate, such as --model dev -q 8; or --demo"),
        (["--model", "dev", "--demo"], "--model dev and --demo both name a model. Leave one out."),
        (["--demo", "--steps", "5"], "--steps 5 runs 5 steps, and with fewer than 10 there is nothing to tune"),
        (["--model", "schnell", "--steps", "12"], "is distilled to a few steps, which differ too much to be skipped"),
        (
            ["--model", "nonsense"],
            "--model nonsense is not a name that mflux knows, and does not tell what the model is based on. Check the "
            "spelling, or give --base-model with one of these: dev, krea-dev, ",
        ),
        (["--model", "quen-image"], "Did you mean qwen-image? "),
        (
            ["--model", "me/mine", "--base-model", "devv"],
            "--base-model devv is not a name that mflux knows. Did you mean dev? ",
        ),
        (["--demo", "--minutes", "0"], "--minutes is 0; it must be a number above 0, such as 30."),
        (["--demo", "--minutes", "nan"], "--minutes is nan; it must be"),
        (["--demo", "--prompts", "1"], "--prompts is 1; it must be a whole number from 2 to 24, or a file."),
        (["--demo", "--prompts", "25"], "--prompts is 25; it must be"),
        (["--demo", "--prompts", "none.txt"], "--prompts is none.txt, which cannot be read"),
        (["--demo", "--prompts", "one.txt"], "--prompts is one.txt, which has 1 prompt; it takes 2 or more"),
        (["--demo", "--speedups", "1.0"], "--speedups has 1, which computes 28 of 28 steps; it must compute 3 to 27."),
        (["--demo", "--speedups", "2,20"], "--speedups has 20, which computes 1 of 28 steps"),
        (["--demo", "--speedups", "0.5"], "'0.5' is not a finite number from 1, such as 1.6"),
        (["--demo", "--json", "tune.txt"], "--json is tune.txt; its name must end in .json."),
        (["--demo", "--first-seed", "-1"], "--first-seed is -1; it must be a whole number from 0"),
        (["--demo", "--first-seed", str(2**64 - 2)], f"it must be a whole number from 0 to {2**64 - 3}."),
        (["--demo", "--prompts", "9" * 5000], "which cannot be read: File name too long. Give a number, or a text"),
        (["--demo", "-q", "8"], "--quantize is 8, and the demo's small model cannot be quantised. Leave it out"),
        (["--demo", "-q", "7"], "--quantize is 7; it must be one of 3, 4, 5, 6, 8."),
        (["--demo", "--width", "192"], "--width 192: width and height are one option here. Use --size 192x192, or"),
        (["--demo", "--height=a"], "--height a: width and height are one option here. Use --size 1024x1024, or"),
        (["--demo", "--speedups", "fast"], "such as 1.6. See `mflux-teacache tune --help`."),
        (["--demo", "--prompts", "photos.txt"], "it does not know 'photo', 'paris'. Try 'a "),
    ],
)
def test_refused(
    words: list[str],
    message: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.txt").write_text("a fox on sand\n")
    Path("photos.txt").write_text("a photo of paris\na fox\n")
    with pytest.raises(SystemExit) as left:
        main(["tune", *words])
    assert left.value.code == 2
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert "\\n" not in said.err
    assert not data.exists()


def test_a_directory_that_takes_no_file(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_text("a file where a folder should be")
    monkeypatch.setattr(Session, "_draw", lambda *_: pytest.fail("it was drawn"))
    with pytest.raises(SystemExit) as left:
        main(["tune", "--demo"])
    assert left.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert f"what is drawn is to be kept in {data / 'tune'}" in line
    assert f"or name another data directory in {store.VARIABLE}." in line


@pytest.mark.parametrize("images", [0, 2, 5])
def test_a_full_disk_costs_the_image_in_the_making_and_no_other(
    images: int, tunes_tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image is two files: the disk is full at the first or the second one."""
    write, written = output_files.replace_file, []

    def full(path: Path, content: bytes) -> None:
        if len(written) == 1 + 2 * images + images % 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        write(path, content)

    monkeypatch.setattr(folders, "replace_file", full)
    words = ["tune", "--demo", "--steps", "10", "--size", "32x32", "--speedups", "2"]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 1
    assert "an image could not be kept in " in (err := capsys.readouterr().err)
    assert "No space left on device. Those before it are kept: make room, and run the same command to go on;" in err
    assert len(list((tunes_tiny / "tune").rglob("*.json"))) == 1 + images
    assert not list(store.usable())
    monkeypatch.setattr(folders, "replace_file", write)
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 0
    assert list(store.usable())


def test_the_folder_can_be_deleted_while_it_is_drawn_into(tunes_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, turns = Session._draw, count()

    def drawn(session: Session, row: Any, case: Any, computed: int) -> Any:
        if next(turns) in (1, 4):  # a full run, and an image of a setting
            shutil.rmtree(tunes_tiny)
        return draw(session, row, case, computed)

    monkeypatch.setattr(Session, "_draw", drawn)
    with pytest.raises(SystemExit) as ended:
        main(["tune", "--demo", "--steps", "10", "--size", "32x32", "--speedups", "2", "--prompts", "2"])
    assert ended.value.code == 0
    assert list(store.usable())


def test_a_preset_that_cannot_be_written_loses_nothing(
    tunes_tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tune", "--demo", "--steps", "10", "--size", "32x32", "--speedups", "2"]
    tunes_tiny.mkdir()
    (tunes_tiny / "presets").write_text("in its place")
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 1
    assert "could not be written to" in capsys.readouterr().err
    (tunes_tiny / "presets").unlink()
    monkeypatch.setattr(Session, "_draw", lambda *_: pytest.fail("it was drawn again"))
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 0
