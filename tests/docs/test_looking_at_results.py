"""The commands of docs/looking-at-results.md, in their order and in one folder: they are about images made there."""

from __future__ import annotations

import shlex
from typing import Any

import PIL.Image
from fences import ROOT, fences

PAGE = ROOT / "docs" / "looking-at-results.md"
SAID = (
    "",  # a full run
    "teacache: computed 15 of 25 steps, skipped 10 (--teacache-speedup 1.6, ",
    "steps     computed 15 of 25, skipped 10: at best 1.67x\n",
    "compared with full.png\n",
    "shadow: computed 25 of 25 steps",
    "report  ",
)


def test_the_page_s_commands_do_what_it_says(commands: Any) -> None:
    lines = [line for fence in fences(PAGE) if fence.language == "sh" for line in fence.text.splitlines()]
    assert len(lines) == len(SAID)
    for line, said in zip(lines, SAID, strict=True):
        words = shlex.split(line)
        small = ["--width", "64", "--height", "64"] if words[0] == "mflux-generate" else []
        ran = commands.run(words[0], *words[1:], *small)
        assert ran.code == 0, ran.err
        assert said in ran.out
    with PIL.Image.open(commands.folder / "steps.png") as picture:
        assert picture.width == 1600
    page = (commands.folder / "report.html").read_text()
    assert "fast.png beside full.png" in page
    assert "Shadow run: shadow.json" in page
