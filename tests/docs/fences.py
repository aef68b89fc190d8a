"""Fenced blocks of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
# Pages whose commands build on each other.
IN_ORDER = {"choosing-a-setting.md", "start.md"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


class Fence(NamedTuple):
    page: str
    line: int
    language: str
    text: str


def fences(page: Path) -> list[Fence]:
    """Blocks between three backticks, and blocks that are set in by four spaces and begin with a command."""
    text = page.read_text(encoding="utf-8")
    found = [
        Fence(page.name, text[: match.start()].count("\n") + 1, match[1], match[2])
        for match in re.finditer(r"(?ms)^```(\w+)\n(.*?)^```$", text)
    ]
    indented = re.finditer(
        r"(?m)^    (mflux-.*)\n", re.sub(r"(?ms)^```.*?^```$", lambda m: "\n" * m[0].count("\n"), text)
    )
    return found + [Fence(page.name, text[: m.start()].count("\n") + 1, "sh", m[1] + "\n") for m in indented]
