"""Windows and cap: what every strategy computes, and when that leaves nothing to skip."""

import argparse
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mflux_teacache import Limits, Refused
from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.controller import Bounds, judge
from mflux_teacache.pieces.limits import (
    add_options,
    from_options,
    leaves_a_step,
    refuse_short_run,
    resolve_window,
    shortest_run,
)
from mflux_teacache.pieces.verdict import Progress, Verdict

# --- windows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "total", "steps"),
    [
        (0, 10, 0),
        (3, 10, 3),
        (30, 10, 30),
        (0.2, 25, 5),
        (0.2, 28, 6),  # 5.6, rounded up
        (0.1, 28, 3),
        (0.07, 100, 7),  # 7.000000000000001 in binary
        (0.29, 100, 29),
        (1e-05, 10, 1),
        (0.999, 10, 10),
    ],
)
def test_resolve_window(value, total, steps):
    assert resolve_window(value, total) == steps


@pytest.mark.parametrize("value", [-1, 0.0, 1.0, 1.5, -0.2, math.nan, math.inf, True])
def test_a_window_that_is_neither_steps_nor_a_fraction(value):
    with pytest.raises(OptionError, match=r"window is .*whole number of steps from 0.*or a fraction"):
        resolve_window(value, 10)


windows = st.integers(0, 6) | st.floats(0.01, 0.99)


@settings(deadline=None)  # windows that cover every run are tried up to 1000 steps
@given(windows, windows)
def test_the_shortest_run_is_the_first_that_leaves_a_step(first, last):
    shortest = shortest_run(first, last)
    if shortest is None:
        assert not any(leaves_a_step(first, last, total) for total in range(1001))
    else:
        assert leaves_a_step(first, last, shortest)
        assert not any(leaves_a_step(first, last, total) for total in range(shortest))


@pytest.mark.parametrize(
    ("first", "last", "needed"),
    [
        (1, 1, 3),
        (0, 0, 2),
        (0, 1, 3),
        (3, 2, 6),
        (0.2, 0.1, 3),
        (0.4, 0.3, 5),
        (0.5, 0.5, None),
        (0.5, 0.4999999999999999, None),
    ],
)
def test_shortest_run(first, last, needed):
    assert shortest_run(first, last) == needed


# --- limits ------------------------------------------------------------------------------------------------------


def windows_of(total, **limits):
    """One letter per step: F first steps, L last steps, - neither."""
    words = {"first steps": "F", "last steps": "L", None: "-"}
    bounds = Bounds(**Limits(**limits).of(total))
    return "".join(words[bounds.window(step)] for step in range(total))


@pytest.mark.parametrize(
    ("limits", "letters"),
    [
        ({}, "F---------"),
        ({"skip_first": 0}, "F---------"),  # the first step has nothing to reuse
        ({"skip_first": 3, "skip_last": 2}, "FFF-----LL"),
        ({"skip_first": 0.25, "skip_last": 0.1}, "FFF------L"),
        ({"skip_first": 6, "skip_last": 6}, "FFFFFFLLLL"),
        ({"skip_first": 0, "skip_last": 12}, "FLLLLLLLLL"),
    ],
)
def test_windows(limits, letters):
    assert windows_of(10, **limits) == letters


@given(st.integers(0, 6) | st.floats(0.01, 0.99), st.integers(0, 6) | st.floats(0.01, 0.99), st.integers(1, 30))
def test_windows_leave_a_step_exactly_where_that_is_said(first, last, total):
    assert leaves_a_step(first, last, total) == ("-" in windows_of(total, skip_first=first, skip_last=last))


def test_the_cap():
    def capped(skips, **limits):
        """Why a step may not be skipped after so many skipped ones; ``None`` if it may."""
        bounds = Bounds(**Limits(**limits).of(2000))
        decided = judge(Progress(skips=skips, cached=True), Verdict(kind="reuse", reason="still"), 1000, bounds)
        return None if decided.kind == "reuse" else decided.reason

    assert [capped(skips, max_skips=2) for skips in (0, 1, 2, 3)] == [None, None, *["2 skips in a row"] * 2]
    assert capped(0, max_skips=0) == "0 skips in a row"
    assert capped(1000) is None


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"skip_first": -1}, "window is -1; it must be"),
        ({"skip_last": 1.5}, "window is 1.5; it must be"),
        ({"max_skips": -1}, "skips in a row is -1; it must be a whole number from 0"),
    ],
)
def test_limits_refuse(limits, message):
    with pytest.raises(OptionError, match=message):
        Limits(**limits)


# --- options and refusals ----------------------------------------------------------------------------------------


def parse(words, defaults):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser.add_argument_group(), "mine", defaults)
    found = {name.removeprefix("mine_"): value for name, value in vars(parser.parse_args(words)).items()}
    return from_options(argparse.Namespace(**found))


def test_options_give_limits():
    defaults = Limits(skip_first=0.2, skip_last=1, max_skips=8)
    assert parse([], defaults) == defaults
    words = ["--mine-skip-first=3", "--mine-skip-last=0.1", "--mine-max-skips=0"]
    assert parse(words, defaults) == Limits(skip_first=3, skip_last=0.1, max_skips=0)


def test_without_a_default_cap_there_is_no_option_for_it():
    assert parse([], Limits()).max_skips is None
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parse(["--mine-max-skips=2"], Limits())


@pytest.mark.parametrize(
    ("limits", "steps", "message"),
    [
        ({}, 1, r"Mine always computes the first 1 step, .* skip of 1 active step\. It takes at least 2 "),
        ({"skip_first": 3, "skip_last": 2}, 5, "first 3 steps and the last 2 steps, .* of 5 .* at least 6 .*--mine-"),
        ({"skip_first": 0.2, "skip_last": 0.1}, 2, "first 0.2 of the run and the last 0.1 of the run, .* least 3 "),
        ({"skip_first": 0.5, "skip_last": 0.5}, None, "of a run of 1000 steps, or of any shorter one. Lower --mine-"),
        ({"skip_first": 999, "skip_last": 1}, None, "first 999 steps and the last 1 step, .* of a run of 1000 steps"),
    ],
)
def test_windows_that_leave_nothing_are_refused(limits, steps, message):
    with pytest.raises(Refused, match=message):
        refuse_short_run("Mine", "mine", Limits(**limits), steps)


def test_windows_that_leave_a_step_are_not_refused():
    refuse_short_run("Mine", "mine", Limits(skip_first=3, skip_last=2), 6)
    refuse_short_run("Mine", "mine", Limits(skip_first=3, skip_last=2), None)


@pytest.mark.parametrize(
    ("first", "needed", "words"),
    [
        (0, 3, "2 steps"),
        (1, 3, "2 steps"),
        (4, 5, "4 steps"),
        (0.1, 3, r"0\.1 of the run \(at least 2 steps\)"),
    ],
)
def test_a_strategy_that_needs_more_than_one_computed_step_first(first, needed, words):
    limits = Limits(skip_first=first)
    assert shortest_run(first, 0, 2) == needed
    refuse_short_run("Mine", "mine", limits, needed, least_first=2)
    with pytest.raises(Refused, match=f"always computes the first {words}, .* takes at least {needed} "):
        refuse_short_run("Mine", "mine", limits, needed - 1, least_first=2)
