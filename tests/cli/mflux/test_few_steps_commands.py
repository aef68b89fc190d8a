"""What mflux's commands say of a run of few steps: once, and what helps."""

from __future__ import annotations

from typing import Any

import pytest
from commands import COMMAND

pytestmark = pytest.mark.any_mflux

IMAGE = ("--prompt", "apple", "--width", 64, "--height", 64, "--seed", 1, 2)
PLUGIN = ("--plugin", "first-block-cache", "--first-block-cache-thresh", 9)


def warned(commands: Any, *arguments: object) -> list[str]:
    ran = commands.run(*COMMAND, *IMAGE, *arguments, PYTHONWARNINGS="")
    assert ran.code == 0, ran.err
    return [line for line in ran.err.splitlines() if "warning" in line]


def test_a_short_run_is_advised_once_for_all_its_images_and_the_advice_helps(commands: Any) -> None:
    [said] = warned(commands, "--steps", 4, *PLUGIN)
    assert said == (
        f"{COMMAND[0]}: warning: this run has 4 active steps; below 10, fewer steps are usually the better way to "
        f"save time: use a lower --steps without plugins."
    )
    assert warned(commands, "--steps", 3) == []
    assert warned(commands, "--steps", 10, *PLUGIN) == []
    assert warned(commands, "--steps", 4, "--plugin", "schedule", "--schedule-pattern", "CSCC") == []
