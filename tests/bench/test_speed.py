"""The real command ``bench speed``, and what it makes of its arguments."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import PIL.Image
import pytest
from bench_runs import parsed

from mflux_teacache.bench import speed, turns
from mflux_teacache.bench.figures import speeds
from mflux_teacache.bench.settings import SpeedSettings
from mflux_teacache.errors import OptionError


def test_the_command(commands: Any) -> None:
    words = ["--pattern", "CSC", "--size", "32x32", "--repetitions", "1", "--warm-up", "0"]
    ran = commands.run("mflux-teacache", "bench", "speed", *words, "--json", "speed.json", "--png", "speed.png")
    assert ran.code == 0, ran.err
    rows = [line.split() for line in ran.out.splitlines()]
    assert [row[-1] for row in rows if row[1:2] == ["1"] or row[2:3] == ["1"]] == ["CCC", "CCC", "CSC"]
    assert ["skipping", "2/3"] in [row[:2] for row in rows]

    content = json.loads((commands.folder / "speed.json").read_text())
    assert content["schema"] == 1
    assert content["first_images"] == []  # none to warm up
    assert content["settings"]["pattern"] == "CSC"
    assert content["arguments"]["width"] == 32
    assert set(content["versions"]) == {"python", "mlx", "mflux", "mflux-teacache-plugin"}
    assert content["machine"]["default_device"]
    runs = [turns._from_json(run) for run in content["runs"]]
    assert [asdict(entry) for entry in speeds(runs)] == [
        {**entry, **{name: tuple(entry[name]) for name in ("ratios", "step_seconds", "notes", "told")}}
        for entry in content["summary"]
    ]
    with PIL.Image.open(commands.folder / "speed.png") as picture:
        assert picture.width == 1600


def settings(*words: str) -> SpeedSettings:
    return speed.settings_of(parsed(*words))


def test_a_plugin_is_judged_before_mflux_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mflux_teacache.bench.subjects", None)
    with pytest.raises(OptionError, match="plugin 'teacache' has no option 'tresh'"):
        speed.run(parsed("--plugin", "teacache", "--plugin-option", "tresh=0.1"))


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
