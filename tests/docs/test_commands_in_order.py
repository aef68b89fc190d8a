"""Pages whose commands build on each other: all of a page, in their order and in one folder."""

from __future__ import annotations

import re
import shlex
from typing import Any

import numpy as np
import pytest
from fences import IN_ORDER, ROOT, fences

from mflux_teacache.strategies.auto.levels import LEVELS, of_level

BUDGET = "teacache: computed 15 of 25 steps, skipped 10 (--teacache-speedup 1.6, "
REPLAY = "replay: computed 15 of 25 steps, skipped 10 ("

# What each says after its image. The pages' steps as they are: with random weights they are fast.
SAID = {
    "choosing-a-setting.md": [
        "auto: computed 12 of 25 steps, skipped 13 (--auto-level balanced, schedule reuse=output: plan flux1-dev, pub",
        "auto: computed 8 of 25 steps, skipped 17 (--auto-level fast, schedule reuse=output: plan flux1-dev, pub",
        "auto: computed 15 of 25 steps, skipped 10 (--auto-speedup 1.6, schedule reuse=output: plan flux1-dev, pub",
        "auto: computed 2",  # 60 seconds are enough for all of them
        "shadow: computed 25 of 25 steps",
        "teacache: computed 15 of 25 steps, skipped 10 (--teacache-max-computed 15, ",
        *(BUDGET, BUDGET, REPLAY, REPLAY),
    ],
    "start.md": [
        *("teacache: computed ", "auto: computed 25 of 50 steps", "teacache: computed ", "replay: computed "),
    ],
}
SAME = {"choosing-a-setting.md": {"again": "apple", "third": "apple"}, "start.md": {"lighthouse-again": "lighthouse"}}


def test_the_levels_of_auto_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "choosing-a-setting.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `(\w+)` \| (\S+) \| (\d+) \| (\d+) \|", page)
    assert rows == [
        (level, f"{speedup:g}", str(of_level(level, 28)), str(of_level(level, 50))) for level, speedup in LEVELS.items()
    ]


@pytest.mark.parametrize("page", sorted(IN_ORDER))
def test_the_page_s_commands_do_what_it_says(commands: Any, page: str) -> None:
    lines = [
        line for fence in fences(ROOT / "docs" / page) if fence.language == "sh" for line in fence.text.splitlines()
    ]
    lines = [line for line in lines if line.startswith("mflux-generate")]
    assert len(lines) == len(SAID[page])
    for place, (line, said) in enumerate(zip(lines, SAID[page], strict=True)):
        words = shlex.split(line)
        own = [] if "--output" in words else ["--output", f"{page}{place}.png"]
        ran = commands.run(words[0], *words[1:], *own, "--width", "64", "--height", "64")
        assert ran.code == 0, ran.err
        assert re.search(rf"(?m)^{re.escape(said)}", ran.out), ran.out
    for again, first in SAME[page].items():
        assert np.array_equal(commands.pixels(f"{again}.png"), commands.pixels(f"{first}.png"))


def test_the_picture_of_the_shadow_run_is_there(commands: Any) -> None:
    """In the folder of the commands above."""
    assert (commands.folder / "shadow.png").exists()
