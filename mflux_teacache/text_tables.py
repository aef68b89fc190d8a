"""Columns of text, as wide as their widest cell. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(lines: Sequence[Sequence[str]], *, left: int = 1, gap: str = "  ") -> list[str]:
    """A line of text for each line of cells.

    Args:
        lines: all with the same number of cells.
        left: so many of the first columns are aligned left, the others right.
        gap: between two columns.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        gap.join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
