"""A residual that is kept in a narrower dtype: rounded by what its dtype says, and never past its range."""

from __future__ import annotations

import gc
import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache import Body, ResidualCache
from mflux_teacache.pieces.cache import DTYPES, keep
from mflux_teacache.step import BodyBranch

# Half a unit in the last place, relative to the value: 8 and 11 significant bits.
ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
# The scale's own rounding in float32, applied twice.
SCALING = 2.0**-22

VALUES = st.lists(st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False), min_size=1, max_size=20)


def body(*residuals: mx.array) -> Body:
    return Body(tuple(BodyBranch(None, None, residual, False, place) for place, residual in enumerate(residuals)))


@pytest.mark.parametrize("dtype", DTYPES)
@given(VALUES)
def test_the_error_is_that_of_rounding(dtype, values):
    """Whatever the magnitudes: float16 itself would end at 65504."""
    residual = mx.array(values, mx.float32)
    back = np.array(keep(residual, dtype).restored(), np.float64)
    exact = np.array(residual, np.float64)
    largest = np.abs(exact).max()
    below = largest * 2.0**-29 if dtype == "float16" else 2.0**-126
    assert np.isfinite(back).all()
    assert (
        np.abs(back - exact) <= np.abs(exact) * ROUNDING[dtype] * (1 + 2**-8) + np.abs(exact) * SCALING + below
    ).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bound_is_met_and_not_only_kept(dtype):
    """So that a wider dtype would be noticed."""
    residual = mx.linspace(1, 2, 8001)
    error = (mx.abs(keep(residual, dtype).restored() - residual) / residual).max().item()
    assert 0.9 * ROUNDING[dtype] < error <= ROUNDING[dtype]


def test_a_value_beyond_float16_comes_back():
    residual = mx.array([1e6, -3e5, 1.0, 0.0])
    kept = keep(residual, "float16")
    assert kept.array.dtype == mx.float16
    assert mx.isfinite(kept.array).all()
    assert mx.allclose(kept.restored(), residual, rtol=2**-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_stay_zeros(dtype):
    assert mx.array_equal(keep(mx.zeros((1, 4, 2)), dtype).restored(), mx.zeros((1, 4, 2)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_so(dtype, value):
    assert not mx.isfinite(keep(mx.array([1.0, value]), dtype).restored()).all()


@pytest.mark.parametrize("dtype", [*DTYPES, None])
@pytest.mark.parametrize("stream", [mx.bfloat16, mx.float16])
def test_a_stream_that_is_no_wider_stays_as_it_is(dtype, stream):
    """Also bfloat16 that is asked for as float16: as much memory, and another rounding."""
    residual = mx.ones((1, 4, 2), stream)
    kept = keep(residual, dtype)
    assert kept.array is residual
    assert kept.restored() is residual
    assert not kept.narrowed


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_cache_hands_out_the_stream_s_dtype(dtype, order):
    cache = ResidualCache(order, dtype)
    far, near = mx.array([[[1.0, 1e5]]]), mx.array([[[3.0, 1e5]]])
    cache.store(0.9, body(far))
    cache.store(0.7, body(near))
    [residual] = cache.residuals(0.6)
    assert residual.dtype == mx.float32
    # Half a spacing ahead; the gain, 2, multiplies rounding errors.
    expected = near if order == 0 else 1.5 * near - 0.5 * far
    assert mx.allclose(residual, expected, rtol=2.1 * ROUNDING[dtype])


@pytest.mark.parametrize(("dtype", "scale"), [("bfloat16", 0), ("float16", 4)])
def test_it_takes_half_the_memory(dtype, scale):
    cache = ResidualCache(1, dtype)
    for sigma in (0.9, 0.8, 0.7):
        cache.store(sigma, body(mx.ones((1, 4, 2)), mx.ones((1, 4, 2), mx.bfloat16)))
    # Two orders; a float32 branch in 2 bytes, and one whose stream has 2 bytes anyway.
    assert cache.nbytes == 2 * (8 * 2 + scale + 8 * 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_wide_residual_is_let_go_of(dtype):
    """A lazy cast would hold it until it is reused."""
    cache = ResidualCache(0, dtype)
    size = 1 << 18
    gc.collect()  # what tests before this one have left would go meanwhile
    before = mx.get_active_memory()
    for sigma in (0.9, 0.8):
        residual = mx.arange(size, dtype=mx.float32)[None, :, None] * sigma
        cache.store(sigma, body(residual))
        del residual
    mx.synchronize()
    assert size * 2 <= mx.get_active_memory() - before < size * 3


def test_a_stream_of_another_dtype_takes_the_place_of_all_though_it_is_kept_in_the_same():
    cache = ResidualCache(1, "bfloat16")
    cache.store(0.9, body(mx.ones((1, 4, 2), mx.float32)))
    new = mx.full((1, 4, 2), 5.0, mx.bfloat16)
    cache.store(0.8, body(new))
    assert cache.residuals(0.7) == (new,)


@pytest.mark.parametrize("dtype", ["float32", "int8", mx.bfloat16, 16])
def test_a_dtype_that_does_not_exist(dtype):
    with pytest.raises(ValueError, match=r"^the cache's dtype is .*; it must be one of bfloat16, float16, or None$"):
        ResidualCache(0, dtype)
