"""The pure rules on any numbers that a float can hold: no error, and never more skips in a row than allowed."""

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.pieces.limits import Limits
from mflux_teacache.strategies.easycache import policy as easycache
from mflux_teacache.strategies.magcache import policy as magcache
from mflux_teacache.teacache import policy as teacache

ENDS = [0.0, 5e-324, 1e-300, 1e300, sys.float_info.max]
POSITIVE = st.one_of(st.floats(0.0, 10.0), st.sampled_from(ENDS))
ANY = st.one_of(POSITIVE, st.sampled_from([math.nan, math.inf, -1.0, -sys.float_info.max, None]))
THRESHOLDS = st.one_of(st.floats(0.0, 10.0), st.sampled_from(ENDS))
RUNS = st.lists(ANY, min_size=1, max_size=30)
CAPS = st.integers(0, 4)


def held(letters, cap):
    return letters.startswith("C") and letters.endswith("C") and "S" * (cap + 1) not in letters


def followed(decide, state, inputs):
    """The pattern of a run; the first step has no input."""
    letters = ""
    for step, given_input in enumerate([None, *inputs]):
        verdict = decide(state, given_input, step)
        state = verdict.state
        letters += "S" if verdict.kind == "reuse" else "C"
    return letters


@given(RUNS, THRESHOLDS, CAPS, st.lists(st.one_of(POSITIVE, POSITIVE.map(float.__neg__)), min_size=1, max_size=5))
def test_teacache(changes, threshold, cap, polynomial):
    config = teacache.PolicyConfig(
        threshold=threshold, polynomial=tuple(polynomial), limits=Limits(skip_last=1, max_skips=cap)
    )
    total = len(changes) + 1
    assert held(
        followed(lambda s, c, step: teacache.decide(s, c, step, total, config), teacache.PolicyState(), changes), cap
    )


@given(RUNS, THRESHOLDS, CAPS, st.data())
def test_easycache(changes, threshold, cap, data):
    config = easycache.Config(threshold=threshold, limits=Limits(skip_first=1, skip_last=1, max_skips=cap))
    measured = st.one_of(POSITIVE, st.sampled_from([math.nan, math.inf]))

    def decide(state, change, step):
        verdict = easycache.decide(state, change, step, len(changes) + 1, config)
        if verdict.kind == "reuse":
            assert 0 < verdict.state.size < math.inf
            return verdict
        shown = data.draw(st.tuples(measured) | st.tuples(measured, measured, measured))
        return type(verdict)(kind=verdict.kind, reason="", state=easycache.learn(verdict.state, *shown))

    assert held(followed(decide, easycache.State(), changes), cap)


@given(st.lists(POSITIVE.filter(bool), min_size=1, max_size=30), THRESHOLDS, CAPS)
def test_magcache(ratios, threshold, cap):
    limits = Limits(skip_first=1, skip_last=1, max_skips=cap)
    config = magcache.Config(ratios=(1.0, *ratios), threshold=threshold, limits=limits)
    total = len(ratios) + 1
    assert held(followed(lambda s, _, step: magcache.decide(s, step, total, config), magcache.State(), ratios), cap)


@pytest.mark.parametrize("size", [math.inf, math.nan, 0.0])
def test_an_output_whose_size_is_no_number_to_divide_by_is_computed(size):
    state = easycache.State(rate=1.0, size=size)
    verdict = easycache.decide(state, 0.001, 5, 10, easycache.Config())
    assert (verdict.kind, verdict.reason, verdict.drop_cache) == ("compute", "prediction not finite", True)
