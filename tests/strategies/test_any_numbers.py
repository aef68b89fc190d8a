"""The pure rules on any numbers that a float can hold: no error, and never more skips in a row than allowed."""

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.pieces.controller import Bounds, judge
from mflux_teacache.pieces.verdict import Progress
from mflux_teacache.strategies.easycache import policy as easycache
from mflux_teacache.strategies.magcache import policy as magcache
from mflux_teacache.teacache import plugin as teacache

ENDS = [0.0, 5e-324, 1e-300, 1e300, sys.float_info.max]
POSITIVE = st.one_of(st.floats(0.0, 10.0), st.sampled_from(ENDS))
ANY = st.one_of(POSITIVE, st.sampled_from([math.nan, math.inf, -1.0, -sys.float_info.max, None]))
THRESHOLDS = st.one_of(st.floats(0.0, 10.0), st.sampled_from(ENDS))
RUNS = st.lists(ANY, min_size=1, max_size=30)
CAPS = st.integers(0, 4)


def held(letters, cap):
    return letters.startswith("C") and letters.endswith("C") and "S" * (cap + 1) not in letters


def followed(decide, inputs, threshold, cap):
    """The pattern of a run; the first step has no input."""
    letters, state = "", Progress()
    bounds = Bounds(total=len(inputs) + 1, max_skips=cap, threshold=threshold)
    for step, given_input in enumerate([None, *inputs]):
        verdict = judge(state, decide(state, given_input, step), step, bounds)
        state = verdict.state
        letters += "S" if verdict.kind == "reuse" else "C"
    return letters


@given(RUNS, THRESHOLDS, CAPS, st.lists(st.one_of(POSITIVE, POSITIVE.map(float.__neg__)), min_size=1, max_size=5))
def test_teacache(changes, threshold, cap, polynomial):
    curve = teacache.Curve(polynomial=tuple(polynomial))
    assert held(followed(lambda _, change, step: teacache.decide(change, curve), changes, threshold, cap), cap)


@given(RUNS, THRESHOLDS, CAPS, st.data())
def test_easycache(changes, threshold, cap, data):
    measured = st.one_of(POSITIVE, st.sampled_from([math.nan, math.inf]))
    learned = easycache.Learned()

    def decide(state, change, step):
        nonlocal learned
        if state.skips == 0 and step:  # what the computed step before this one has shown
            shown = data.draw(st.tuples(measured) | st.tuples(measured, measured, measured))
            learned = easycache.learn(learned, *shown)
        verdict = easycache.decide(learned, change)
        if verdict.kind == "weigh":
            assert 0 < learned.size < math.inf
        learned = easycache.Learned() if verdict.drop_cache else learned
        return verdict

    assert held(followed(decide, changes, threshold, cap), cap)


@given(st.lists(POSITIVE.filter(bool), min_size=1, max_size=30), THRESHOLDS, CAPS)
def test_magcache(ratios, threshold, cap):
    config = magcache.Config(ratios=(1.0, *ratios))
    decide = lambda state, _, step: magcache.decide(state.skips, step, config)  # noqa: E731
    assert held(followed(decide, ratios, threshold, cap), cap)


@pytest.mark.parametrize("size", [math.inf, math.nan, 0.0])
def test_an_output_whose_size_is_no_number_to_divide_by_is_computed(size):
    verdict = easycache.decide(easycache.Learned(rate=1.0, size=size), 0.001)
    assert (verdict.kind, verdict.reason, verdict.drop_cache) == ("compute", "prediction not finite", True)
