"""The forecast: its weights against polynomials."""

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mflux_teacache.pieces.forecast import MAX_GAIN, ORDERS, weights

# Steps of a run, latest first, and the sigma that follows them.
SIGMA = st.integers(0, 50).map(lambda i: i / 1000)
GAPS = st.lists(st.integers(1, 100).map(lambda i: i / 1000), min_size=1, max_size=4)


def run_up(sigma, gaps):
    """Nodes newest first: ``sigma + gaps[0]``, then ever farther back."""
    return [sigma + distance for distance in itertools.accumulate(gaps)]


def gain(order, sigma, nodes):
    """Of the polynomial through the nodes, worked out anew."""
    nodes = nodes[: order + 1]
    return sum(abs(math.prod((sigma - other) / (own - other) for other in nodes if other != own)) for own in nodes)


# --- weights -----------------------------------------------------------------------------------------------------


@given(SIGMA, GAPS, st.sampled_from(ORDERS))
def test_weights_sum_to_1_and_keep_the_gain_bounded(sigma, gaps, order):
    found = weights(sigma, run_up(sigma, gaps), order)
    assert len(found) == min(order + 1, len(gaps))
    assert sum(found) == pytest.approx(1.0)
    assert sum(map(abs, found)) <= MAX_GAIN + 1e-9


@given(SIGMA, GAPS, st.sampled_from(ORDERS), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_within_the_bound_a_forecast_is_exact_for_polynomials_of_its_degree(sigma, gaps, order, coefficients):
    nodes = run_up(sigma, gaps)
    degree = min(order, len(nodes) - 1)
    assume(gain(degree, sigma, nodes) < MAX_GAIN)

    def polynomial(x):
        return sum(c * x**power for power, c in enumerate(coefficients[: degree + 1]))

    predicted = sum(w * polynomial(node) for w, node in zip(weights(sigma, nodes, order), nodes, strict=False))
    assert predicted == pytest.approx(polynomial(sigma), abs=1e-9)


@given(SIGMA, GAPS)
def test_order_0_holds(sigma, gaps):
    assert weights(sigma, run_up(sigma, gaps), 0) == (1.0,)


def test_linear_and_quadratic_weights_worked_out_by_hand():
    # Half a spacing ahead, a fifth, and half of an uneven one.
    assert weights(0.55, [0.6, 0.7, 0.8], 1) == pytest.approx((1.5, -0.5))
    assert weights(0.58, [0.6, 0.7, 0.8], 2) == pytest.approx((1.32, -0.44, 0.12))
    assert weights(0.5, [0.6, 0.8], 1) == pytest.approx((1.5, -0.5))


def test_beyond_the_bound_linear_goes_no_farther():
    # Gain 1 + 2t at t spacings: 2 at t = 1/2, which is where it stays.
    assert weights(0.5, [0.6, 0.7], 1) == pytest.approx((1.5, -0.5))
    assert weights(0.1, [0.6, 0.7], 1) == pytest.approx((1.5, -0.5))


def test_beyond_the_bound_quadratic_goes_over_into_linear():
    # A quarter ahead: linear has gain 1.5, quadratic (1.40625, -0.5625, 0.15625) has 2.125: 0.8 of the way is 2.
    assert weights(0.575, [0.6, 0.7, 0.8], 2) == pytest.approx((1.375, -0.5, 0.125))
    assert weights(0.1, [0.6, 0.7, 0.8], 2) == pytest.approx((1.5, -0.5, 0))


@given(SIGMA, GAPS, st.sampled_from(ORDERS))
def test_a_little_farther_changes_the_forecast_a_little(sigma, gaps, order):
    """Also where the bound is met: there is no jump."""
    nodes = run_up(0.06, gaps)
    here, there = weights(sigma, nodes, order), weights(sigma + 1e-7, nodes, order)
    # No weight changes faster than 1e5 a unit of sigma where nodes are 0.001 apart or more.
    assert here == pytest.approx(there, abs=0.02)


@given(GAPS, st.sampled_from(ORDERS))
def test_at_the_newest_node_every_forecast_holds(gaps, order):
    nodes = run_up(0.5, gaps)
    found = weights(nodes[0], nodes, order)
    assert found[0] == pytest.approx(1)
    assert all(weight == pytest.approx(0, abs=1e-9) for weight in found[1:])


def test_a_schedule_that_rises_is_followed_as_well():
    assert weights(0.72, [0.7, 0.6, 0.5], 2) == pytest.approx((1.32, -0.44, 0.12))


@pytest.mark.parametrize(
    ("sigma", "nodes", "used"),
    [
        (0.5, [0.6], 1),
        (0.5, [None], 1),
        (0.5, [None, 0.7, 0.8], 1),
        (0.5, [0.6, None, 0.8], 1),
        (0.5, [0.6, 0.7, None], 2),
        (0.5, [0.6, math.nan, 0.8], 1),
        (0.5, [0.6, math.inf, 0.8], 1),
        (None, [0.6, 0.7, 0.8], 1),
        (math.nan, [0.6, 0.7, 0.8], 1),
        (0.5, [0.6, 0.6, 0.8], 1),  # the same noise level twice
        (0.5, [0.6, 0.7, 0.7], 2),
        (0.5, [0.6, 0.7, 0.65], 2),  # a turn
        (0.65, [0.6, 0.7, 0.8], 1),  # between the nodes
        (0.75, [0.6, 0.7, 0.8], 1),
        (0.5, [0.6, 0.7, 0.8], 3),
        (0.5, [0.6, 0.7, 0.8, 0.9], 3),
    ],
)
def test_a_lower_order_where_the_nodes_do_not_tell(sigma, nodes, used):
    assert len(weights(sigma, nodes, 2)) == used
