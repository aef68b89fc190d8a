"""The commands of docs/tuning.md, on tiny random weights, and its table of costs."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from commands import SCRIPTS
from fences import ROOT, fences

from mflux_teacache.bench.runs import Case
from mflux_teacache.tune.settings import SPEED_UPS, STEPS
from mflux_teacache.tune.work import Work

PAGE = ROOT / "docs" / "tuning.md"
LINES = [line for fence in fences(PAGE) if fence.language == "sh" for line in fence.text.splitlines()]
LESS = ("--steps", "10", "--size", "64x64", "--speedups", "2", "--prompts", "2")


def test_the_commands_are_these() -> None:
    tune = LINES[0]
    assert tune.startswith("mflux-teacache tune --model dev ")
    assert LINES[1:] == [f"mlx.launch -n 2 {tune}", f"mlx.launch --hosts mac1.local,mac2.local {tune}"]


@pytest.mark.parametrize("line", LINES[:2])  # the third needs two machines
def test_a_command_runs_as_written(line: str, commands: Any, tmp_path: Path) -> None:
    words = shlex.split(line)
    path = os.pathsep.join((str(SCRIPTS), os.environ["PATH"]))  # mlx.launch looks for the command there
    ran = commands.run(*words, *LESS, MFLUX_TEACACHE_DATA=str(tmp_path), PATH=path)
    assert ran.code == 0, ran.err
    assert ran.out.count("Looking for the best settings that compute 5 of 10 steps.") == 1
    [preset] = (tmp_path / "presets").iterdir()
    assert str(preset) in ran.out


@pytest.mark.parametrize("prompts", [3, 8, 24])
def test_the_costs_are_those_of_the_command(prompts: int) -> None:
    budgets = tuple(int(STEPS / speed_up) for speed_up in SPEED_UPS)
    work = Work(cases=tuple(Case("", seed) for seed in range(prompts)), steps=STEPS, budgets=budgets)
    rows = re.findall(r"(?m)^\| .*?(\d+) fitted, (\d+) checked \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text())
    [row] = [tuple(map(int, row)) for row in rows if int(row[2]) == prompts]
    checked = work.images - prompts
    assert row == (len(work.fitted), len(work.checked), prompts, checked, round(work.computed / STEPS))
