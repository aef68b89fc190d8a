import mlx.core as mx
import pytest

from mflux_teacache.teacache.residual_cache import ResidualCache


def test_a_new_cache_is_empty_and_says_what_to_do():
    cache = ResidualCache()
    assert cache.empty
    assert cache.nbytes == 0
    with pytest.raises(LookupError, match=r"empty: no step was computed.*store\(\)"):
        _ = cache.residuals


def test_it_hands_out_the_arrays_that_it_was_given_in_their_order():
    positive, negative = mx.ones((1, 4, 2)), mx.zeros((1, 4, 2), mx.bfloat16)
    cache = ResidualCache()
    cache.store([positive, negative])
    first, second = cache.residuals
    assert not cache.empty
    assert first is positive
    assert second is negative
    assert cache.nbytes == 8 * 4 + 8 * 2


def test_storing_replaces():
    cache = ResidualCache()
    cache.store([mx.ones(1), mx.ones(1)])
    cache.store([mx.ones(3)])
    assert [residual.size for residual in cache.residuals] == [3]


def test_clearing_drops():
    cache = ResidualCache()
    cache.store([mx.ones(1)])
    cache.clear()
    assert cache.empty
    with pytest.raises(LookupError):
        _ = cache.residuals
