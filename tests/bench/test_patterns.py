"""Patterns of computed and skipped steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.bench import patterns
from mflux_teacache.errors import OptionError


@st.composite
def runs(draw: st.DrawFn) -> tuple[int, int]:
    steps = draw(st.integers(2, 100))
    return steps, draw(st.integers(0, steps - 1))


@given(runs())
def test_skipped_steps_are_spread_evenly(run: tuple[int, int]) -> None:
    steps, skipped = run
    pattern = patterns.spread(steps, skipped)
    assert patterns.checked(pattern, steps) == pattern
    assert pattern.count("S") == skipped
    if steps - skipped > 1:
        assert pattern.endswith("C")
        gaps = [len(gap) for gap in pattern[1:-1].split("C")]
        assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("steps", "skipped", "pattern"),
    [(6, 3, "CSSCSC"), (5, 4, "CSSSS"), (4, 0, "CCCC"), (20, 12, "CSSCSCSSCSSCSSCSCSSC"), (1, 0, "C")],
)
def test_examples(steps: int, skipped: int, pattern: str) -> None:
    assert patterns.spread(steps, skipped) == pattern


@pytest.mark.parametrize("skipped", [-1, 5, 6])
def test_something_must_be_computed(skipped: int) -> None:
    with pytest.raises(OptionError, match=f"--skip is {skipped}; it must be a whole number from 0 to 4"):
        patterns.spread(5, skipped)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("CCX", "has the letter 'X'; each letter is a step, C computed or S skipped, such as CSC"),
        ("ccs", "has the letter 'c'"),
        ("CCSC", "has 4 letters for 3 steps; it takes one for each step. Give --steps 4"),
        ("", "'' is too short: a run has two steps at least"),
        ("C", "'C' is too short"),
        ("SCC", "skips the first step, which has nothing to reuse"),
    ],
)
def test_patterns_that_cannot_be_followed(pattern: str, message: str) -> None:
    with pytest.raises(OptionError) as refusal:
        patterns.checked(pattern, 3)
    assert message in str(refusal.value)


def test_the_option_that_gave_it_is_named() -> None:
    with pytest.raises(OptionError, match=r"^--patterns CSC has 3 letters for 4 steps.* Give --steps 3, or another"):
        patterns.checked("CSC", 4, "--patterns")
