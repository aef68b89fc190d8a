"""The cache: what it holds for each branch, and how residuals are kept in a narrower dtype."""

from __future__ import annotations

import argparse

import mlx.core as mx
import numpy as np
import pytest

from mflux_teacache import Body, OutputCache, ResidualCache
from mflux_teacache.pieces.cache import ORDER_OF_OUTPUTS, add_options, from_options
from mflux_teacache.pieces.forecast import ORDERS
from mflux_teacache.step import BodyBranch

# --- the cache ---------------------------------------------------------------------------------------------------


def body(*residuals, reused=()):
    return Body(
        tuple(BodyBranch(None, None, residual, place in reused, place) for place, residual in enumerate(residuals))
    )


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
    [predicted] = cache.residuals(0.77)
    exact = 1.3 * near.astype(mx.float32) - 0.3 * far.astype(mx.float32)
    assert predicted.dtype == mx.bfloat16
    assert mx.allclose(predicted.astype(mx.float32), exact, rtol=2**-8, atol=1e-6).item()


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
    assert parser.parse_args([]).mine_forecast is None
    assert parser.parse_args(["--mine-forecast", "2"]).mine_forecast == 2
    for value in ("3", "-1", "linear"):
        with pytest.raises(argparse.ArgumentError):
            parser.parse_args([f"--mine-forecast={value}"])
    assert parser.parse_args([]).mine_cache_dtype is None
    assert parser.parse_args(["--mine-cache-dtype", "float16"]).mine_cache_dtype == "float16"
    for value in ("float32", "bf16", ""):
        with pytest.raises(argparse.ArgumentError):
            parser.parse_args([f"--mine-cache-dtype={value}"])
    assert parser.parse_args([]).mine_reuse == "body"
    assert parser.parse_args(["--mine-reuse", "output"]).mine_reuse == "output"
    with pytest.raises(argparse.ArgumentError):
        parser.parse_args(["--mine-reuse=residual"])


@pytest.mark.parametrize(
    ("reuse", "forecast", "kind", "order"),
    [
        ("body", 2, ResidualCache, 2),
        ("body", None, ResidualCache, 1),  # the strategy's own
        ("output", 0, OutputCache, 0),
        ("output", None, OutputCache, ORDER_OF_OUTPUTS),
    ],
)
def test_the_cache_that_the_options_ask_for(reuse, forecast, kind, order):
    cache = from_options(argparse.Namespace(reuse=reuse, forecast=forecast, cache_dtype="bfloat16", other=1), 1)
    assert type(cache) is kind
    assert (cache.order, cache.dtype, cache.empty) == (order, "bfloat16", True)
    assert cache.values == {"forecast": order, "cache_dtype": "bfloat16", "reuse": reuse}


# --- outputs -----------------------------------------------------------------------------------------------------


def test_outputs_are_kept_and_forecast_with_a_gain_of_their_own():
    cache = OutputCache(1)
    for sigma, value in ((0.8, 1.0), (0.7, 2.0)):
        branch = BodyBranch(None, None, None, False, 0, model_output=mx.full((1, 4), value))
        cache.store(sigma, Body((branch,)))
    [output] = cache.outputs(0.6)  # as far ahead as the two are apart: a gain of 3, of which residuals have 2
    assert output.shape == (1, 4)
    assert mx.allclose(output, mx.full((1, 4), 3.0), atol=1e-5)
    cache.store(0.6, Body((BodyBranch.without_body(output, 0),)))  # what was reused is not kept
    assert mx.allclose(cache.outputs(0.6)[0], output)


def test_a_branch_without_an_output_has_none_to_reuse():
    cache = OutputCache()
    cache.store(0.5, body([1.0]))
    assert cache.empty
