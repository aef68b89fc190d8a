"""``mflux-teacache show``: what it prints of files that exist, and the picture that it draws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from shown_images import ENTRY, FAST, MADE, image, sidecar

from mflux_teacache.cli.own.main import main
from mflux_teacache.installation import installing

FIRST_VERSION = Path(__file__).parents[1] / "data" / "first-version"


def shown(capsys: Any, *words: object) -> str:
    with pytest.raises(SystemExit) as leaving:
        main(["show", *map(str, words)])
    printed = capsys.readouterr()
    assert (leaving.value.code, printed.err) == (0, "")
    return printed.out


def refused(capsys: Any, *words: object) -> str:
    with pytest.raises(SystemExit) as leaving:
        main(["show", *map(str, words)])
    printed = capsys.readouterr()
    assert (leaving.value.code, printed.out) == (2, "")
    assert printed.err.count("\n") == 1
    return printed.err


def test_one_image_is_told_step_by_step(tmp_path: Path, capsys: Any) -> None:
    path = sidecar(tmp_path)
    assert shown(capsys, path).splitlines() == [
        str(path),
        "model     black-forest-labs/FLUX.1-dev, 8 bits",
        "LoRAs     style.safetensors at 0.5",
        "image     16x16, seed 7, steps 3, guidance 3.5",
        "prompt    a lighthouse",
        "mflux     0.24.0",
        "plugin    first-block-cache 0.1.0 of mflux-teacache-plugin",
        "options   thresh 0.5, skip_first 1, force off",
        "used      forecast 0",
        "steps     computed 2 of 3, skipped 1: at best 1.50x",
        "time      3.12 s of denoising: 2 s for the first step, 0.125 s per skipped step, 1 s per computed step",
        "pattern   CSC (C computed, S skipped)",
        "",
        "STEP  OUTCOME   SIGMA  CHANGE  THRESHOLD  SECONDS  REASON",
        "0     computed  1.000       -          -    2.000  first steps",
        "1     skipped   0.500    0.25        0.5    0.125  under it",
        "2     computed  0.250    0.75        0.5    1.000  reached it",
    ]


@pytest.mark.parametrize("name", ["teacache.png", "teacache.metadata.json", "replay.metadata.json"])
def test_images_of_the_first_version_are_told_as_far_as_they_go(name: str, capsys: Any) -> None:
    printed = shown(capsys, FIRST_VERSION / name)
    assert "pattern   CSCSCSCSCSCC (C computed, S skipped)" in printed
    assert printed.splitlines()[-1].startswith("Of each step only the outcome above is recorded")


def test_an_image_without_plugins_says_so(tmp_path: Path, capsys: Any) -> None:
    assert "plugins   none recorded" in shown(capsys, image(tmp_path, "plain.png", MADE))


def test_images_are_compared_with_the_first(tmp_path: Path, capsys: Any) -> None:
    full = image(tmp_path, "full.png", MADE)
    fast = image(tmp_path, "fast.png", {**FAST, "guidance": 4.0}, shade=93)
    same = image(tmp_path, "same.png", MADE)
    *_, heading, titles, first, second = shown(capsys, full, fast, same).splitlines()
    assert heading == f"compared with {full}"
    assert titles.split() == ["IMAGE", "STEPS", "PSNR", "SSIM"]
    # One channel of three off by 3: mean square 3, 10 log10(65025 / 3).
    assert "computed 2 of 3, skipped 1: at best 1.50x  43.4 dB" in first
    assert first.endswith("other guidance")
    assert second.split()[-2:] == ["equal", "1.0000"]


@pytest.mark.parametrize(
    ("made", "side", "why"),
    [
        ({**MADE, "seed": 8}, 16, "seeds 7 and 8"),
        (MADE, 24, "sizes 16x16 and 24x24"),
    ],
)
def test_other_seeds_and_sizes_are_not_compared(
    made: dict[str, Any], side: int, why: str, tmp_path: Path, capsys: Any
) -> None:
    full, other = image(tmp_path, "full.png", MADE), image(tmp_path, "other.png", made, side=side)
    last = shown(capsys, full, other).splitlines()[-1]
    assert last.split()[-2 - len(why.split()) - 2 :][:2] == ["-", "-"]
    assert last.endswith(f"not compared: {why}")


def test_a_sidecar_has_no_pixels_and_an_image_need_not_have_metadata(tmp_path: Path, capsys: Any) -> None:
    full = image(tmp_path, "full.png", None)
    printed = shown(capsys, full, image(tmp_path, "fast.png", None, shade=93), sidecar(tmp_path))
    assert "43.4 dB" in printed
    assert printed.splitlines()[-1].endswith("not compared: a sidecar has no pixels, so name the image")


def test_without_scikit_image_there_is_no_ssim_but_how_to_get_it(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mflux_teacache.show.comparison.find_spec", lambda name: None)
    *_, last, hint = shown(
        capsys, image(tmp_path, "a.png", MADE), image(tmp_path, "b.png", MADE, shade=93)
    ).splitlines()
    assert last.split()[-2:] == ["dB", "-"]
    assert hint == f"SSIM needs scikit-image. Install it with `{installing('mflux-teacache-plugin[bench]')}`."


@pytest.mark.slow
def test_the_picture_has_the_images_and_the_steps(tmp_path: Path, capsys: Any, axes: list[Any]) -> None:
    full = image(tmp_path, "full.png", MADE)
    fast = image(tmp_path, "fa$t$.png", FAST, shade=93)
    drawn = tmp_path / "steps.png"
    assert f"picture   {drawn}" in shown(capsys, full, fast, "--png", drawn)
    titles = [panel.get_title() for panel in axes]
    assert titles[:2] == ["full.png\nno plugin recorded", "fa$t$.png\ncomputed 2 of 3"]
    assert titles[2] == "difference \u00d7 50\nPSNR 43.4 dB"
    assert [text.get_text() for text in axes[4].texts] == list("CSC")
    with PIL.Image.open(drawn) as picture:
        assert picture.width == 1600


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True])
def test_of_a_sidecar_only_the_steps_are_drawn(older: bool, tmp_path: Path, capsys: Any, axes: list[Any]) -> None:
    entry = {name: value for name, value in ENTRY.items() if not (older and name == "steps")}
    shown(capsys, sidecar(tmp_path, mflux_plugins=entry), "--png", tmp_path / "steps.png")
    assert [text.get_text() for text in axes[-1].texts] == list("CSC")
    assert len(axes) == (1 if older else 2)
    assert axes[0].figure.get_suptitle() == "a.metadata.json: computed 2 of 3"


def test_a_stranger_s_file_does_not_act_on_the_terminal(tmp_path: Path, capsys: Any) -> None:
    entry = json.loads(json.dumps(ENTRY))
    entry["plugins"]["first-block-cache"]["version"] = "\x1b[31m"
    entry["plugins"]["first-block-cache"]["values"] = {"\x1b[2J": "\u202e", "deep": {"x": {}}}
    entry["steps"]["reasons"] = ["\x1b[1m", "a\nb", "c"]
    printed = shown(capsys, sidecar(tmp_path, prompt="\x1b[0m", model=["\x07"], seed={}, mflux_plugins=entry))
    assert all(line.isprintable() for line in printed.splitlines())
    assert "a\\nb" in printed


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, "says nothing about how it was made. Name an image that mflux wrote, or its .metadata.json."),
        ({"mflux_plugins": 1}, "mflux_plugins is 1"),
        ({"mflux_plugins": {**ENTRY, "steps": {"change": [1]}}}, "mflux_plugins.steps.change is [1]"),
        ({"mflux_plugins": {**ENTRY, "pattern": "XYZ"}}, "mflux_plugins.pattern is 'XYZ'"),
        ({"mflux_plugins": {**ENTRY, "decider": None, "pattern": 3}}, "mflux_plugins.pattern is 3"),
    ],
)
def test_what_cannot_be_told_is_refused(content: dict[str, Any], problem: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    assert problem in refused(capsys, path)


def test_files_that_are_none_are_refused(tmp_path: Path, capsys: Any) -> None:
    assert "missing.png cannot be read: No such file" in refused(capsys, tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no image")
    full = image(tmp_path, "full.png", MADE)
    said = "text.png is no image: it is none of the formats that Pillow knows. Name another image"
    assert said in refused(capsys, full, tmp_path / "text.png")
    assert said in refused(capsys, tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    assert "empty.png is no image: it is empty." in refused(capsys, tmp_path / "empty.png")
    (tmp_path / "broken.json").write_text("{")
    assert "It must be an image that mflux wrote, or its" in refused(capsys, tmp_path / "broken.json")
    assert "its name must end in .png" in refused(capsys, full, "--png", tmp_path / "a.jpg")
    assert "at most 8 images, and 9 are named" in refused(capsys, *[full] * 9, "--png", tmp_path / "a.png")
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(MADE))
    assert "--png has nothing to draw" in refused(capsys, plain, "--png", tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["full.png", "link.png", "hard.png", "other.png"])
def test_the_picture_replaces_no_image_of_mflux_s(name: str, tmp_path: Path, capsys: Any) -> None:
    full, other = image(tmp_path, "full.png", MADE), image(tmp_path, "other.png", FAST)
    (tmp_path / "link.png").symlink_to(full)
    (tmp_path / "hard.png").hardlink_to(full)
    before = full.read_bytes(), other.read_bytes()
    why = "an image that mflux drew" if name == "other.png" else "which this command reads and would replace"
    assert f"{name}, {why}. Name a file that is new" in refused(capsys, full, "--png", tmp_path / name)
    assert (full.read_bytes(), other.read_bytes()) == before


def test_folders_of_whoever_made_an_image_are_not_told(tmp_path: Path, capsys: Any) -> None:
    entry = json.loads(json.dumps(ENTRY))
    entry["plugins"]["first-block-cache"]["options"] = {"from": "/home/someone/a b.png", "also": ["~/x/c.json"]}
    printed = shown(capsys, sidecar(tmp_path, model="/home/someone/models/mine", mflux_plugins=entry))
    assert "model     mine, 8 bits" in printed
    assert "options   from a b.png, also c.json" in printed


@pytest.mark.slow
def test_it_shows_an_image_that_mflux_s_command_has_made(commands: Any) -> None:
    from commands import FLUX2

    image = ("--prompt", "x", "--seed", 1, "--steps", 6, "--width", 64, "--height", 64, "--output", "a.png")
    made = commands.run(*FLUX2, "--plugin", "first-block-cache", "--first-block-cache-thresh", 9, *image)
    assert made.code == 0, made.err
    told = commands.run("mflux-teacache", "show", "a.png")
    assert told.code == 0, told.err
    assert "plugin    first-block-cache" in told.out
    table = told.out.partition("\n\n")[2].splitlines()
    assert table[0].split() == ["STEP", "OUTCOME", "SIGMA", "CHANGE", "THRESHOLD", "SECONDS", "REASON"]
    assert len(table) == 7
    shutil.copy(commands.folder / "a.png", commands.folder / "b.png")
    assert "equal" in commands.run("mflux-teacache", "show", "a.png", "b.png").out
