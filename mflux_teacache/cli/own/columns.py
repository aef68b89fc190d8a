"""Tables and paragraphs of our own commands, up to 120 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from mflux_teacache.spelling import visible
from mflux_teacache.text_tables import aligned

SPACE = "  "
WIDTH = 120
MIN_WIDTH = 40


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns. A last column that is too wide continues below itself."""
    return rows_of([heading, *rows])


def rows_of(rows: Sequence[Sequence[str]]) -> list[str]:
    """The same without a heading."""
    lines = [[visible(cell) for cell in row] for row in rows]
    left = sum(max(map(len, column)) + len(SPACE) for column in list(zip(*lines, strict=True))[:-1])
    split: list[list[str]] = []
    for *cells, last in lines:
        first, *more = wrap(last, max(WIDTH - left, MIN_WIDTH)) or [""]
        split += [[*cells, first], *([*("" for _ in cells), line] for line in more)]
    return aligned(split, left=len(split[0]), gap=SPACE)


def wrap(text: str, width: int) -> list[str]:
    """The text in lines."""
    # They break only at spaces, so that options and commands can be copied whole.
    return textwrap.wrap(visible(text), width, break_long_words=False, break_on_hyphens=False)
