"""How far a polynomial is to be trusted, and the smallest change that it predicts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.teacache.calibration import (
    Calibration,
    derive_upper,
    shipped,
    smallest_prediction,
)
from mflux_teacache.teacache.plugin import evaluate


@pytest.mark.parametrize(
    ("polynomial", "upper"),
    [
        ((1.0, 0.0), None),  # rises for ever
        ((2.0,), None),  # constant
        ((1.0, -1.0, 0.5), None),  # dips to 0.25, never negative
        ((-1.0, 1.0), 1.0),  # falls from the start, negative above 1
        ((-1.0, 2.0, 0.0), 1.0),  # maximum at 1, negative above 2
        ((1.0, -3.0, 2.0), 1.0),  # negative between 1 and 2
        ((1.0, -6.0, 9.0, 1.0), 1.0),  # maximum at 1, minimum 1 at 3, then up for ever
        ((-1.0, 0.0, 0.0), 0.0),  # negative from the start
        ((-1.0,), 0.0),
        ((0.0, 0.0, 1.0, 0.0), None),  # leading zeros
        ((0.0,), None),
    ],
)
def test_derive_upper(polynomial, upper):
    assert derive_upper(polynomial) == (None if upper is None else pytest.approx(upper))


coefficients = st.lists(st.integers(-8, 8).map(float), min_size=1, max_size=5).map(tuple)


@given(coefficients, st.fractions(0, 6, max_denominator=97).map(float))
def test_nothing_under_the_bound_is_negative(polynomial, x):
    bound = derive_upper(polynomial)
    if bound is None or x < bound:
        assert evaluate(polynomial, x) >= -1e-9


@given(coefficients)
def test_right_after_the_bound_it_falls(polynomial):
    bound = derive_upper(polynomial)
    if bound is not None:
        assert evaluate(polynomial, bound + 1e-4) < max(0.0, evaluate(polynomial, bound)) + 1e-12


@given(coefficients, st.floats(0, 1), st.floats(0, 3), st.floats(0, 1))
def test_no_prediction_is_under_the_floor(polynomial, lower, width, place):
    floor = smallest_prediction(polynomial, lower, lower + width)
    assert max(0.0, evaluate(polynomial, lower + place * width)) >= floor - 1e-9


@pytest.mark.parametrize(
    ("polynomial", "lower", "upper", "floor"),
    [
        ((1.0, 0.0), 0.0, math.inf, 0.0),
        ((1.0, 0.0), 0.25, 1.0, 0.25),
        ((-1.0, 1.0), 0.0, 0.25, 0.75),
        ((-1.0, 1.0), 0.0, math.inf, 0.0),  # negative counts as 0
        ((-1.0, 50.0), 0.0, math.inf, 0.0),  # however far out
        ((1.0, -1.0, 0.5), 0.0, math.inf, 0.25),  # at 0.5
        ((1.0, -1.0, 0.5), 0.0, 0.25, 0.3125),  # the minimum is outside
    ],
)
def test_smallest_prediction(polynomial, lower, upper, floor):
    assert smallest_prediction(polynomial, lower, upper) == pytest.approx(floor)


@pytest.mark.parametrize(
    ("name", "floor"), [("flux1-dev", 0.1803), ("flux1-krea-dev", 0.2598), ("flux2-klein-base-4b", 0.1442)]
)
def test_floors_of_the_shipped_ones(name, floor):
    assert shipped()[name].floor == pytest.approx(floor, abs=1e-4)


def test_limits():
    assert (shipped()["flux1-dev"].lower, shipped()["flux1-dev"].upper) == (0.0, math.inf)
    assert shipped()["flux1-krea-dev"].upper == pytest.approx(0.56248, abs=1e-5)
    base = shipped()["flux2-klein-base-4b"]
    assert (base.lower, base.upper) == base.range


def test_coefficients_by_hand_have_no_limits():
    kontext = shipped()["flux1-kontext-dev"]
    by_hand = Calibration.by_hand(kontext.polynomial)
    assert kontext.upper < math.inf
    assert (by_hand.polynomial, by_hand.lower, by_hand.upper) == (kontext.polynomial, 0.0, math.inf)
    assert (by_hand.threshold, by_hand.window) == (None, None)
