"""SeaCache's filter: equal to its formula by numpy's Fourier transform, and right on fields of known spectra."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.strategies.sea.filter import filtered, gains


def reference(tokens: np.ndarray, sigma: float, beta: float = 2.0) -> np.ndarray:
    """The formula as it is published; where it divides by zero, its neighbourhood."""
    _, height, width, _ = tokens.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = 1e-9
    a, b = max(1 - sigma, 1e-9), sigma
    gain = a * frequency**-beta / (a**2 * frequency**-beta + b**2)
    gain /= gain.mean()
    return np.fft.ifft2(np.fft.fft2(tokens, axes=(1, 2)) * gain[None, ..., None], axes=(1, 2)).real


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, height, width, 3))


def picture(height: int, width: int) -> np.ndarray:
    """Its power falls with the square of the frequency."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = 1 / max(height, width)
    spectrum = np.fft.fft2(noise(height, width, seed=1), axes=(1, 2)) / frequency[None, ..., None]
    return np.fft.ifft2(spectrum, axes=(1, 2)).real


def power(field: np.ndarray) -> np.ndarray:
    return (np.abs(np.fft.fft2(field, axes=(1, 2))) ** 2).mean(axis=(0, 3))


def run(field: np.ndarray, sigma: float) -> np.ndarray:
    return np.array(filtered(mx.array(field), sigma))


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    sigma=st.floats(0, 1),
    batch=st.integers(1, 2),
    channels=st.integers(1, 3),
)
def test_it_is_the_published_formula(height: int, width: int, sigma: float, batch: int, channels: int) -> None:
    field = np.random.default_rng(0).normal(size=(batch, height, width, channels))
    expected = reference(field, sigma)
    assert np.abs(run(field, sigma) - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("sigma", [0.9936, 0.7, 0.1])
@pytest.mark.parametrize("size", [(64, 64), (64, 48), (52, 80)])
def test_it_is_so_at_the_sizes_of_images(size: tuple[int, int], sigma: float) -> None:
    field = noise(*size)
    expected = reference(field, sigma)
    assert np.abs(run(field, sigma) - expected).max() <= 1e-5 * np.abs(expected).max()


@given(height=st.integers(1, 40), width=st.integers(1, 40), sigma=st.floats(-0.1, 1.1))
def test_its_mean_gain_is_1(height: int, width: int, sigma: float) -> None:
    gain = np.array(gains(height, width, sigma))
    assert gain.shape == (height, width)
    assert np.isfinite(gain).all()
    assert gain.mean() == pytest.approx(1, rel=1e-4)


def test_of_pure_noise_the_mean_is_left() -> None:
    field = noise(24, 16)
    left = run(field, 1.0)
    assert np.allclose(left, 24 * 16 * field.mean(axis=(1, 2), keepdims=True), rtol=1e-3, atol=1e-3)


def test_of_a_clean_image_all_is_left() -> None:
    field = picture(24, 16)
    assert np.allclose(run(field, 0.0), field, atol=1e-4)


def test_of_a_picture_with_little_noise_nearly_all_is_left() -> None:
    """At sigma 0.1 and the highest frequency of a grid, the gain is 0.9 / (0.81 + 0.01 / 2) against 1 / 0.9."""
    field = picture(48, 64)
    left = run(field, 0.1)
    assert np.abs(left - field).max() < 0.01 * np.abs(field).max()
    kept = power(left) / power(field)
    assert kept[24, 32] / kept[0, 0] == pytest.approx((0.9 / 0.815 * 0.9) ** 2, rel=1e-3)


def test_white_noise_comes_out_with_the_power_of_the_squared_gain() -> None:
    field = noise(32, 20)
    assert np.allclose(power(run(field, 0.95)) / power(field), np.array(gains(32, 20, 0.95)) ** 2, rtol=1e-2)


def test_more_noise_leaves_less_of_high_frequencies() -> None:
    left = [np.array(gains(32, 32, sigma))[16, 16] for sigma in (0.1, 0.5, 0.8, 0.95, 1.0)]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0


def test_the_signal_s_dtype_does_not_matter() -> None:
    field = mx.array(noise(8, 6)).astype(mx.bfloat16)
    left = filtered(field, 0.5)
    assert left.dtype == mx.float32
    assert mx.array_equal(left, filtered(field.astype(mx.float32), 0.5))
