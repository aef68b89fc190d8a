"""What ``bench speed`` refuses before anything loads, and what it makes of its arguments."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mflux.utils.apple_silicon import AppleSiliconUtil

from mflux_teacache.bench import needs, speed
from mflux_teacache.bench.settings import FAMILIES, SpeedSettings
from mflux_teacache.cli.own.main import main
from mflux_teacache.cli.own.parser import PluginParser
from mflux_teacache.errors import OptionError, Refused, UnsupportedModel


def parsed(*words: str) -> argparse.Namespace:
    parser = PluginParser()
    speed.add_parser(parser.add_subparsers(required=True))
    return parser.parse_args(["speed", *words])


def settings(*words: str) -> SpeedSettings:
    return speed.settings_of(parsed(*words))


def test_importing_it_loads_nothing_heavy() -> None:
    script = (
        "import sys, mflux_teacache.bench.command; "
        "print(sorted({'mlx', 'mflux', 'matplotlib', 'numpy', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--random-weights", "sdxl"], "--random-weights sdxl is not known. There are: flux1-dev, flux2-klein-base-4b"),
        (["--random-weights", "fibo", "--model", "dev"], "--random-weights fibo and --model dev both name a model"),
        (["--base-model", "dev"], "--base-model dev says what --model is based on"),
        (["--random-weights", "fibo", "--quantize", "7"], "--quantize is 7; it must be one of 3, 4, 5, 6, 8"),
        (["--quantize", "4"], "the demo's model is not quantised"),
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


def test_a_plugin_is_judged_before_mflux_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mflux_teacache.bench.subjects", None)
    with pytest.raises(OptionError, match="plugin 'teacache' has no option 'tresh'"):
        speed.run(parsed("--plugin", "teacache", "--plugin-option", "tresh=0.1"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plugin", "teacache", "--random-weights", "fibo"], "no calibration"),
        (["--plugin", "teacache", "--steps", "2"], "TeaCache always computes"),
        (["--plugin", "teacache", "--model", "schnell"], "schnell is distilled to a few steps"),
        (["--compile-blocks"], "--compile-blocks changes nothing for the demo's tiny FLUX.2, float32: mflux compiles"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_model_loads(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: False)
    monkeypatch.setattr(speed, "_measure", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(Refused, match=message):
        speed.run(parsed(*words))


@pytest.mark.parametrize("words", [["--compile-blocks", "--random-weights", "flux1-dev"], ["--compile-blocks"]])
def test_blocks_are_compiled_where_mflux_runs_as_python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as everywhere on the smaller M1 and M2."""
    monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)

    class Measuring(Exception):
        pass

    def measure(*_: Any) -> None:
        raise Measuring

    monkeypatch.setattr(speed, "_measure", measure)
    with pytest.raises(Measuring):
        speed.run(parsed(*words))


def test_a_package_to_compare_with_is_judged_before_the_model_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    from mflux_teacache.bench.laboratory import peers

    def check(config: Any, pipeline: type) -> None:
        raise Refused(f"not {pipeline.__name__}")

    monkeypatch.setattr(peers, "check", check)
    monkeypatch.setattr(speed, "_measure", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(Refused, match="not DemoKlein"):
        speed.run(parsed("--compare", "mlx-teacache"))


@pytest.mark.parametrize(("words", "place", "images"), [([], "interleaved", 21), (["--isolated"], "in_processes", 45)])
def test_where_it_is_measured(
    words: list[str], place: str, images: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each process warms up for itself."""
    from mflux_teacache.bench import turns
    from mflux_teacache.bench.subjects import subject_of

    monkeypatch.setattr(turns, "interleaved", lambda *_: "interleaved")
    monkeypatch.setattr(turns, "in_processes", lambda *_: "in_processes")
    made = settings(*words, "--warm-up", "2")
    assert speed._measure(made, subject_of(made)) == place
    assert f" {images} images in all\n" in capsys.readouterr().out


def test_models_that_there_is_no_pipeline_for() -> None:
    with pytest.raises(UnsupportedModel, match="--model seedvr2-3b is seedvr2-3b to mflux, for which this benchmark"):
        speed.run(parsed("--model", "seedvr2-3b"))
    with pytest.raises(UnsupportedModel, match="--model someone/something: Cannot infer base_model"):
        speed.run(parsed("--model", "someone/something"))


@pytest.mark.parametrize(
    ("words", "steps", "pattern"),
    [
        ([], 20, "CSCSCSCSCSSCSCSCSCSC"),
        (["--pattern", "CSC"], 3, "CSC"),
        (["--pattern", "csc"], 3, "CSC"),
        (["--steps", "6", "--skip", "3"], 6, "CSSCSC"),
        (["--steps", "6", "--skip", "0"], 6, "CCCCCC"),
        (["--plugin", "teacache"], 20, None),
    ],
)
def test_steps_and_pattern(words: list[str], steps: int, pattern: str | None) -> None:
    made = settings(*words)
    assert (made.steps, made.pattern) == (steps, pattern)


def test_from_python_one_of_pattern_and_plugin_must_be_given() -> None:
    with pytest.raises(OptionError, match="nothing says which steps are skipped"):
        SpeedSettings()
    with pytest.raises(OptionError, match="--plugin teacache decides itself which steps are skipped"):
        SpeedSettings(steps=2, pattern="CS", plugin="teacache")


@pytest.mark.parametrize(
    "words",
    [
        ["--plugin-option", "max-skips=3", "--plugin-option", "force=true"],
        ["--teacache-max-skips", "3", "--teacache-force"],
        ["--teacache-force", "--plugin-option", "max_skips=3"],
    ],
)
def test_plugin_options_are_those_of_attach(words: list[str]) -> None:
    assert settings("--plugin", "teacache", *words).plugin_options == {"max_skips": "3", "force": True}


def test_settings_go_through_json_without_the_files_of_a_user(tmp_path: Path) -> None:
    words = ("--random-weights", "fibo", "--size", "64x32", "--plugin", "teacache", "--plugin-option", "thresh=1")
    made = settings(*words)
    assert SpeedSettings(**json.loads(json.dumps(asdict(made)))) == made
    files = ("--json", str(tmp_path / "a.json"), "--png", str(tmp_path / "a.png"))
    assert settings(*words, *files) == made


def test_the_families_are_those_that_can_be_made() -> None:
    from mflux_teacache.bench.laboratory.random_models import RECIPES

    assert tuple(RECIPES) == FAMILIES


def test_a_missing_package_is_named() -> None:
    needs.require("json")
    with pytest.raises(Refused, match=r"needs no_such_module, which is missing. pip install 'mflux-teacache-plugin\["):
        needs.require("json", "no_such_module")
