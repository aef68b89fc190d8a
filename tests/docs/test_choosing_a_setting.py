"""The commands of docs/choosing-a-setting.md, in their order and in one folder: some read what others wrote."""

from __future__ import annotations

import re
import shlex
from typing import Any

import numpy as np
from fences import ROOT, fences

from mflux_teacache.strategies.auto.levels import LEVELS, of_level

PAGE = ROOT / "docs" / "choosing-a-setting.md"
# What each says after its image. The page's 25 steps as they are: with random weights they are fast.
SAID = (
    "auto: computed 12 of 25 steps, skipped 13 (--auto-level balanced, schedule reuse=output: plan flux1-dev, publis",
    "auto: computed 8 of 25 steps, skipped 17 (--auto-level fast, schedule reuse=output: plan flux1-dev, published, ",
    "auto: computed 15 of 25 steps, skipped 10 (--auto-speedup 1.6, schedule reuse=output: plan flux1-dev, published, ",
    "auto: computed 2",  # 60 seconds are enough for all of them
    "shadow: computed 25 of 25 steps",
    "teacache: computed 15 of 25 steps, skipped 10 (--teacache-max-computed 15, ",
    "teacache: computed 15 of 25 steps, skipped 10 (--teacache-speedup 1.6, ",
    "teacache: computed 15 of 25 steps, skipped 10 (--teacache-speedup 1.6, ",
    "replay: computed 15 of 25 steps, skipped 10 (",
    "replay: computed 15 of 25 steps, skipped 10 (",
)


def test_the_levels_are_those_of_the_code() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \| (\S+) \| (\d+) \| (\d+) \|", PAGE.read_text(encoding="utf-8"))
    assert rows == [
        (level, f"{speedup:g}", str(of_level(level, 28)), str(of_level(level, 50))) for level, speedup in LEVELS.items()
    ]


def test_the_page_s_commands_do_what_it_says(commands: Any) -> None:
    lines = [line for fence in fences(PAGE) if fence.language == "sh" for line in fence.text.splitlines()]
    assert len(lines) == len(SAID)
    for place, (line, said) in enumerate(zip(lines, SAID, strict=True)):
        words = shlex.split(line)
        own = [] if "--output" in words else ["--output", f"line{place}.png"]
        ran = commands.run(words[0], *words[1:], *own, "--width", "64", "--height", "64")
        assert ran.code == 0, ran.err
        assert re.search(rf"(?m)^{re.escape(said)}", ran.out), ran.out
    for again in ("again.png", "third.png"):
        assert np.array_equal(commands.pixels(again), commands.pixels("apple.png"))
    assert (commands.folder / "shadow.png").exists()
