"""Columns are as wide as their widest cell."""

from __future__ import annotations

import pytest

from mflux_teacache.text_tables import aligned


@pytest.mark.parametrize(
    ("left", "lines"),
    [
        (1, ["", "*   b  100", "   bb    2"]),
        (2, ["", "*  b   100", "   bb    2"]),
    ],
)
def test_first_columns_are_aligned_left_and_the_others_right(left: int, lines: list[str]) -> None:
    assert aligned([("", "", ""), ("*", "b", "100"), ("", "bb", "2")], left=left) == lines


def test_a_gap_of_ones_own() -> None:
    assert aligned([("a", "b"), ("cc", "dd")], left=0, gap=" ") == [" a  b", "cc dd"]
