"""The forecast: its weights against polynomials, and what the cache holds for each branch."""

import argparse
import itertools
import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mflux_teacache import Body, ResidualCache
from mflux_teacache.pieces.forecast import DEFAULT_ORDER, MAX_GAIN, ORDERS, add_options, from_options, weights
from mflux_teacache.records import BodyBranch

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

    foretold = sum(w * polynomial(node) for w, node in zip(weights(sigma, nodes, order), nodes, strict=False))
    assert foretold == pytest.approx(polynomial(sigma), abs=1e-9)


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


# --- the cache ---------------------------------------------------------------------------------------------------


def body(*residuals, reused=()):
    return Body(tuple(BodyBranch(None, None, residual, place in reused) for place, residual in enumerate(residuals)))


def full(value, shape=(1, 4, 2), dtype=mx.float32):
    return mx.full(shape, value, dtype)


def values(cache, sigma):
    return [
        None if residual is None else residual.astype(mx.float32)[0, 0, 0].item() for residual in cache.residuals(sigma)
    ]


def test_a_new_cache_is_empty_and_says_what_to_do():
    cache = ResidualCache()
    assert cache.empty
    assert cache.nbytes == 0
    with pytest.raises(LookupError, match=r"empty: no step was computed.*store\(\)"):
        cache.residuals(0.5)


def test_held_residuals_are_the_arrays_that_were_stored_in_their_order():
    positive, negative = mx.ones((1, 4, 2)), mx.zeros((1, 4, 2), mx.bfloat16)
    cache = ResidualCache(0)
    cache.store(0.9, body(positive, negative))
    first, second = cache.residuals(0.5)
    assert not cache.empty
    assert first is positive
    assert second is negative
    assert cache.nbytes == 8 * 4 + 8 * 2


def test_extrapolation_is_in_sigma_and_for_each_branch():
    cache = ResidualCache(1)
    cache.store(0.8, body(full(1.0), full(10.0)))
    assert values(cache, 0.5) == [1.0, 10.0]
    cache.store(0.6, body(full(2.0), full(6.0)))
    assert values(cache, 0.5) == pytest.approx([2.5, 4.0])
    assert values(cache, None) == [2.0, 6.0]
    assert values(cache, 0.6) == pytest.approx([2.0, 6.0])


def test_a_quadratic_is_met():
    cache = ResidualCache(2)
    for sigma in (0.9, 0.8, 0.7):
        cache.store(sigma, body(full(sigma**2)))
    assert values(cache, 0.68) == pytest.approx([0.68**2], abs=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_memory_is_bounded(order):
    cache = ResidualCache(order)
    for index in range(6):
        cache.store(1 - index / 10, body(full(1.0), full(1.0)))
    assert cache.nbytes == (order + 1) * 2 * 8 * 4


def test_what_was_reused_does_not_enter():
    cache = ResidualCache(1)
    cache.store(0.8, body(full(1.0), full(10.0)))
    cache.store(0.7, body(full(1.0), full(10.0), reused={0, 1}))
    cache.store(0.6, body(full(1.0), full(6.0), reused={0}))
    assert values(cache, 0.5) == pytest.approx([1.0, 4.0])  # branch 0 has one residual, branch 1 goes on by -2 in 0.1


def test_a_branch_that_never_computed_has_none():
    cache = ResidualCache()
    cache.store(0.8, body(full(1.0), full(2.0), reused={0}))
    assert not cache.empty
    assert values(cache, 0.7) == [None, 2.0]
    cache = ResidualCache()
    cache.store(0.8, body(full(1.0), reused={0}))
    assert cache.empty


@pytest.mark.parametrize("other", [full(9.0, (1, 6, 2)), full(9.0, dtype=mx.bfloat16)], ids=["shape", "dtype"])
def test_a_residual_of_another_kind_takes_the_place_of_all(other):
    cache = ResidualCache(2)
    for sigma in (0.9, 0.8):
        cache.store(sigma, body(full(1.0), full(1.0)))
    cache.store(0.7, body(other, full(2.0)))
    first, second = cache.residuals(0.65)
    assert first is other
    assert second.dtype == mx.float32
    assert values(cache, 0.65)[1] == pytest.approx(2.5)  # 1.5 * 2 - 0.5 * 1, at the bound


def test_fewer_branches_drop_the_others_and_more_are_added():
    cache = ResidualCache(1)
    cache.store(0.9, body(full(1.0), full(2.0)))
    cache.store(0.8, body(full(1.0)))
    assert cache.nbytes == 2 * 8 * 4
    cache.store(0.7, body(full(1.0), full(5.0)))
    assert values(cache, 0.6) == pytest.approx([1.0, 5.0])


def test_the_sum_is_rounded_once():
    """Weights and terms in float32: 257 and 255 are not bfloat16 numbers, and rounding each term would show."""
    rng = np.random.default_rng(1)
    near, far = (mx.array(rng.normal(size=(1, 64, 8)), mx.bfloat16) for _ in range(2))
    cache = ResidualCache(1)
    cache.store(0.9, body(far))
    cache.store(0.8, body(near))
    [foretold] = cache.residuals(0.77)
    exact = 1.3 * near.astype(mx.float32) - 0.3 * far.astype(mx.float32)
    assert foretold.dtype == mx.bfloat16
    assert mx.allclose(foretold.astype(mx.float32), exact, rtol=2**-8, atol=1e-6).item()


def test_clearing_drops():
    cache = ResidualCache(2)
    cache.store(0.9, body(full(1.0)))
    cache.clear()
    assert cache.empty
    assert cache.nbytes == 0
    with pytest.raises(LookupError):
        cache.residuals(0.5)


@pytest.mark.parametrize("order", [-1, 3, "1"])
def test_an_order_that_does_not_exist(order):
    with pytest.raises(ValueError, match=r"order is .*; it must be one of 0, 1, 2"):
        ResidualCache(order)


# --- the options -------------------------------------------------------------------------------------------------


def test_the_options():
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser.add_argument_group(), "mine")
    assert parser.parse_args([]).mine_forecast == DEFAULT_ORDER
    assert parser.parse_args(["--mine-forecast", "2"]).mine_forecast == 2
    for value in ("3", "-1", "linear"):
        with pytest.raises(argparse.ArgumentError):
            parser.parse_args([f"--mine-forecast={value}"])
    assert parser.parse_args([]).mine_cache_dtype is None
    assert parser.parse_args(["--mine-cache-dtype", "float16"]).mine_cache_dtype == "float16"
    for value in ("float32", "bf16", ""):
        with pytest.raises(argparse.ArgumentError):
            parser.parse_args([f"--mine-cache-dtype={value}"])


def test_the_cache_that_the_options_ask_for():
    cache = from_options(argparse.Namespace(forecast=2, cache_dtype="bfloat16", other=1))
    assert (cache.order, cache.dtype, cache.empty) == (2, "bfloat16", True)
    assert cache.values == {"forecast": 2, "cache_dtype": "bfloat16"}
