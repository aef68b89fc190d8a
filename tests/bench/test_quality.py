"""The real command ``bench quality``, and what it makes of its arguments."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from mflux_teacache.bench import plugin_settings as settings
from mflux_teacache.bench import quality
from mflux_teacache.bench.quality import settings_of
from mflux_teacache.cli.own.main import build_parser, main
from mflux_teacache.demo.prompts import FITTED
from mflux_teacache.errors import OptionError

MODEL = ("--model", "dev", "--prompts", __file__)
PHOTO = (*MODEL, "--image-path", "PHOTO")


def from_words(*words: str):
    return settings_of(build_parser().parse_args(["bench", "quality", *words]))


def test_what_is_compared() -> None:
    assert from_words().settings == tuple(settings.default_grid())
    named = from_words("--setting", "easycache", "--setting", "easycache", "--patterns", "CS", "--steps", "2")
    assert [str(setting) for setting in named.settings] == [
        "easycache",
        *(f"schedule pattern=CS reuse={reuse} forecast={order}" for reuse in ("body", "output") for order in range(3)),
    ]


def test_cases_are_prompts_by_seeds() -> None:
    chosen = from_words("--prompts", "3", "--seeds", "2", "--first-seed", "5")
    assert [case.seed for case in chosen.cases] == [5, 5, 5, 6, 6, 6]
    assert len(set(chosen.cases)) == 6
    assert set(chosen.prompts).isdisjoint(FITTED)


def test_prompts_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a large fox on blue\n\n  a cat on green\na large fox on blue\n")
    assert from_words("--prompts", str(file)).prompts == ("a large fox on blue", "a cat on green")
    file.write_text("a cat on green\n\na photo of a cat\na photo of a cat\n")
    with pytest.raises(OptionError, match=r"prompts\.txt, line 3: the demo cannot draw this prompt: it does not know"):
        from_words("--prompts", str(file))
    assert from_words("--model", "dev", "--prompts", str(file)).prompts == ("a cat on green", "a photo of a cat")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0"], "--seeds is 0"),
        (["--prompts", "0"], "--prompts is 0"),
        (["--prompts", "none.txt"], "cannot be read"),
        (["--prompts", "empty.txt"], "has no prompt"),
        (["--model", "dev"], "prompts of its own"),
        (["--model", "dev", "--prompts", "3"], "prompts of its own"),
        (["--size", "64"], "--size is 64"),
        (["--steps", "1"], "--steps is 1"),
        (["--json", "figures.txt"], "must end in .json"),
        (["--sheet", "no-folder/sheet.png"], "no folder"),
        (["--png", "picture.jpg"], "must end in .png"),
    ],
)
def test_refused(words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()
    with pytest.raises(OptionError, match=message):
        quality.run(build_parser().parse_args(["bench", "quality", *words]))


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
    assert "Then at most 12 with fewer steps" in ran.out
    assert re.search(
        r"\nThe first image took \S+ s: all 20 take at most about [^,]+, since it has every step\.\n", ran.out
    )
    assert "\nEvery setting beats them at the same number of computed steps, by mean PSNR.\n" in ran.out
    [scheduled] = [line.split() for line in ran.out.splitlines() if "schedule every=2" in line]
    assert scheduled[:5] == ["*", "schedule", "every=2", "2.0/3", "1.50x"]

    content = json.loads((commands.folder / "q.json").read_text())
    assert content["schema"] == 1
    assert content["arguments"] == {"num_inference_steps": 3, "width": 32, "height": 32, "guidance": 2.5}
    assert [run["pattern"] for run in content["runs"]] == ["CSC", "CSC", "CCC", "CCC"]
    assert [run["pattern"] for run in content["fewer_steps"]["runs"]] == ["CC", "CC"]
    [fewer] = content["fewer_steps"]["summary"]
    assert (fewer["setting"], fewer["computed"], fewer["steps"], fewer["speed_up"]) == ("fewer steps: 2", 2, 3, 1.5)
    assert fewer["psnr"] < 80
    skipping, computing = content["summary"]
    assert content["fewer_steps"]["not_beaten_by"] == []
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--first-seed", "-1"], "--first-seed is -1; it must be a whole number from 0"),
        (["--first-seed", str(2**64 - 1)], f"it must be a whole number from 0 to {2**64 - 2}."),
        (["--prompts", "9" * 5000], "which cannot be read: File name too long. Give a number, or a text file"),
        (["--prompts", "/dev/zero"], "--prompts is /dev/zero, which cannot be read: it is a device, and only regular"),
        (["--prompts", "5000000"], "--prompts is 5000000; it must be a whole number from 1 to 10000"),
        (["--png", "a.jpg"], "--png is a.jpg; its name must end in .png. Try --png a.png."),
        (["--sheet", "a.webp"], "--sheet is a.webp; its name must end in .png. Try --sheet a.png."),
        (["--png", "a.png", "--sheet", "./a.png"], "--png and --sheet both are a.png"),
        (["--patterns", "CCS", "--steps", "4"], "--patterns CCS has 3 letters for 4 steps"),
        (["--setting", "teacache thresh"], "--teacache-thresh takes a value; True says only on or off"),
        (["--guidance", "nan"], "--guidance is nan; it must be a finite number"),
        (
            ["--lora-paths", "a.safetensors"],
            "--lora-paths is a.safetensors, which goes with --model. Give --model, or leave it out.",
        ),
        (["--image-path", "a.png"], "--image-path is a.png, which goes with --model. Give --model, or leave it out."),
        (["--image-strength", "0.5"], "--image-strength is 0.5, and there is no --image-path. Give it too."),
        ([*MODEL, "--lora-scales", "0.5"], "--lora-scales has 1 numbers for 0 of --lora-paths; it takes one for each."),
        ([*MODEL, "--lora-paths", "a", "b", "--lora-scales", "1"], "--lora-scales has 1 numbers for 2 of --lora-paths"),
        ([*MODEL, "--lora-paths", "a", "--lora-scales", "inf"], "--lora-scales has inf; each must be a finite number"),
        (
            [*MODEL, "--lora-paths", "./no.safetensors"],
            "--lora-paths has ./no.safetensors, which cannot be loaded: FileNot",
        ),
        ([*MODEL, "--lora-paths", __file__], "test_quality.py, which cannot be loaded: ValueError"),
        (
            ["--model", "fibo", *MODEL[2:], "--lora-paths", "a"],
            "--lora-paths: mflux's FIBO takes no LoRAs. Leave them out.",
        ),
        ([*MODEL, "--image-path", "no.png"], "--image-path is no.png, which cannot be read as an image: No such file"),
        ([*MODEL, "--image-path", __file__], "which cannot be read as an image: cannot identify image file"),
        ([*MODEL, "--image-path", "/dev/zero"], "which cannot be read as an image: it is a device"),
        ([*PHOTO, "--image-strength", "1.1"], "--image-strength is 1.1; it must be a number from 0 to 1."),
        ([*PHOTO, "--image-strength", "nan"], "--image-strength is nan; it must be a number from 0 to 1."),
        (
            [*PHOTO, "--image-strength", "0.97"],
            "--image-strength is 0.97, which leaves 1 of 28 steps to run; it must leave 2. Give a lower one",
        ),
        ([*PHOTO, "--patterns", "C" * 28], f"--patterns {'C' * 28} has 28 letters for 17 steps"),
    ],
)
def test_values_that_are_not_allowed(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any weights load."""
    monkeypatch.setattr("mflux_teacache.bench.judging.judge", lambda *_, **__: pytest.fail("it was drawn"))
    words = [str(photo) if word == "PHOTO" else word for word in words]
    with pytest.raises(SystemExit) as left:
        main(["bench", "quality", *words])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_a_file_of_more_prompts_than_anybody_draws(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("\n".join(map(str, range(10_001))))
    with pytest.raises(OptionError, match=r"many\.txt, which has 10001; 10000 are allowed\. Take some out\."):
        quality._prompts(str(path), demo=False)


@pytest.mark.parametrize("command", [("bench", "quality"), ("tune",)])
def test_a_prompt_that_is_no_json_is_refused_before_the_weights_of_a_model_that_takes_no_other_load(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text('{"short_description": "a cat"}\na cat\n')
    with pytest.raises(SystemExit) as left:
        main([*command, "--model", "fibo", "--prompts", str(path)])
    assert left.value.code == 2
    assert "prompts.txt, line 2: this model takes prompts as JSON, and 'a cat' is none." in capsys.readouterr().err
