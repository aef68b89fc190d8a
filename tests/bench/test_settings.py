"""What is refused before anything loads, and what arrives."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from bench_runs import parsed
from mflux.models.common.config.config import Config

from mflux_teacache.bench import command, quality, speed
from mflux_teacache.bench.settings import FAMILIES, ImageSettings, SpeedSettings, active_steps, asked_steps
from mflux_teacache.bench.speed import settings_of
from mflux_teacache.cli.own.main import main
from mflux_teacache.errors import OptionError

GIVEN: dict[str, Any] = {
    "model": "me/mine", "base_model": "dev", "quantize": 8, "width": 64, "height": 32, "guidance": 1.5,
}  # fmt: skip


WORDS = ["--model", "me/mine", "--base-model", "dev", "-q", "8", "--size", "64x32", "--guidance", "1.5"]


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["speed"], settings_of),
        (["quality", "--setting", "easycache", "--prompts", "FILE"], lambda args: quality.settings_of(args).image),
    ],
    ids=["speed", "quality"],
)
def test_what_is_given_arrives(
    words: list[str], settings: Callable[[argparse.Namespace], ImageSettings], tmp_path: Any
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red apple")
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = [str(prompts) if word == "FILE" else word for word in words]
    read = settings(parser.parse_args(["bench", *words, *WORDS]))
    assert {name: getattr(read, name) for name in GIVEN} == GIVEN


def settings(*words: str) -> SpeedSettings:
    return speed.settings_of(parsed(*words))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--random-weights", "sdxl"], "--random-weights sdxl is not known. There are: flux1-dev, flux2-klein-base-4b"),
        (["--random-weights", "fibo", "--model", "dev"], "--random-weights fibo and --model dev both name a model"),
        (["--base-model", "dev"], "--base-model dev says what --model is based on"),
        (["--random-weights", "fibo", "--quantize", "7"], "--quantize is 7; it must be one of 3, 4, 5, 6, 8"),
        (["--quantize", "4"], "the demo's small model cannot be quantised"),
        (["--random-weights", "fibo", "--blocks", "0"], "--blocks is 0; it must be a whole number from 1"),
        (["--blocks", "1"], "goes with --random-weights"),
        (["--pattern", "CXS"], "--pattern CXS has the letter 'X'"),
        (["--pattern", "CSC", "--steps", "4"], "--pattern CSC has 3 letters for 4 steps"),
        (["--pattern", "SCC"], "--pattern SCC skips the first step"),
        (["--steps", "4", "--skip", "4"], "--skip is 4; it must be a whole number from 0 to 3"),
        (["--steps", "1"], "--steps is 1; it must be a whole number from 2"),
        (["--steps", "0"], "--steps is 0; it must be a whole number from 2"),
        (["--repetitions", "0"], "--repetitions is 0; it must be a whole number from 1"),
        (["--warm-up", "-1"], "--warm-up is -1; it must be a whole number from 0"),
        (["--pattern", ""], "--pattern '' is too short: a run has two steps at least"),
        (["--pattern", "C"], "--pattern 'C' is too short"),
        (["--guidance", "nan"], "--guidance is nan; it must be a finite number"),
        (["--guidance", "inf"], "--guidance is inf; it must be a finite number"),
        (["--seed", "-1"], "--seed is -1; it must be a whole number from 0"),
        (["--size", "1024"], "--size is 1024; it must be width x height"),
        (["--size", "1024x1000"], "--size 1024x1000 has a side of 1000; both must be multiples of 16"),
        (["--plugin-option", "thresh=1"], "--plugin-option thresh goes with --plugin, which is missing"),
        (["--plugin", "teacache", "--plugin-option", "thresh"], "--plugin-option is thresh; it must be NAME=VALUE"),
        (
            ["--plugin", "teacache", "--teacache-thresh=1", "--plugin-option", "thresh=2"],
            "--plugin-option thresh=2 gives thresh once more, which was 1. Leave one of them out.",
        ),
        (["--compare", "other"], "--compare other is not known. There are: mlx-teacache"),
        (["--plugin", "teacache", "--compare", "mlx-teacache"], "so the pattern must be given"),
        (["--json", "a.txt"], "--json is a.txt; its name must end in .json. Try --json a.json"),
        (["--png", "a.jpeg"], "--png is a.jpeg; its name must end in .png. Try --png a.png."),
        (["--png", "no/a.png"], "--png is no/a.png, but there is no folder no"),
        (["--png", "folder.png"], "--png is folder.png, which is a folder"),
    ],
)
def test_values_that_are_not_allowed(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mflux_teacache.bench.subjects", None)  # refused before it is imported
    with pytest.raises(SystemExit) as left:
        main(["bench", "speed", *words])
    assert left.value.code == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("mflux-teacache: error: ")
    assert message in complaint


def test_from_python_one_of_pattern_and_plugin_must_be_given() -> None:
    with pytest.raises(OptionError, match="nothing says which steps are skipped"):
        SpeedSettings()
    with pytest.raises(OptionError, match="--plugin teacache decides itself which steps are skipped"):
        SpeedSettings(steps=2, pattern="CS", plugin="teacache")


def test_settings_go_through_json_without_the_files_of_a_user(tmp_path: Path) -> None:
    words = ("--random-weights", "fibo", "--size", "64x32", "--plugin", "teacache", "--plugin-option", "thresh=1")
    made = settings(*words)
    assert SpeedSettings(**json.loads(json.dumps(asdict(made)))) == made
    files = ("--json", str(tmp_path / "a.json"), "--png", str(tmp_path / "a.png"))
    assert settings(*words, *files) == made


def test_the_families_are_those_that_can_be_made() -> None:
    from mflux_teacache.bench.laboratory.random_models import RECIPES

    assert tuple(RECIPES) == FAMILIES


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.4, 0.75])
def test_steps_from_an_input_image_are_those_of_mflux(strength: float) -> None:
    arguments = {"image_path": "photo.png", "image_strength": strength}
    for asked in range(4, 40):
        config = Config(model_config=None, num_inference_steps=asked, image_path="photo.png", image_strength=strength)
        active = active_steps(asked, arguments)
        assert active == asked - config.init_time_step
        least = asked_steps(active, arguments)
        assert active_steps(least, arguments) == active
        assert least <= asked
    assert active_steps(9, {}) == asked_steps(9, {}) == 9
