"""Columns are as wide as their widest cell."""

from __future__ import annotations

import pytest

from mflux_teacache.bench.tables import table


@pytest.mark.parametrize(
    ("left", "lines"),
    [
        (1, ["", "*   b  100", "   bb    2"]),
        (2, ["", "*  b   100", "   bb    2"]),
    ],
)
def test_first_columns_are_aligned_left_and_the_others_right(left: int, lines: list[str]) -> None:
    assert table(("", "", ""), [("*", "b", "100"), ("", "bb", "2")], left=left) == lines
