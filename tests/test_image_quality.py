"""Distances between images, against values worked out by hand."""

import math

import numpy as np
import PIL.Image
import pytest

from mflux_teacache.image_quality import levels, psnr, squared_error, ssim


def grey(level: int, side: int = 9) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def test_squared_error_does_not_wrap() -> None:
    assert squared_error(grey(10), grey(250)) == squared_error(grey(250), grey(10)) == 240**2
    assert squared_error(grey(7), grey(7)) == 0


def test_ssim_of_equal_images_is_one() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (12, 8, 3), dtype=np.uint8)
    assert ssim(noise, noise) == pytest.approx(1, abs=1e-12)


def test_ssim_of_flat_images_is_that_of_their_levels() -> None:
    c1 = (0.01 * 255) ** 2
    assert ssim(grey(100), grey(150)) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))


def test_psnr() -> None:
    assert psnr(6.5025) == pytest.approx(40)  # 255^2 / 10^4
    assert psnr(255**2) == 0
    assert psnr(0) == math.inf


def test_levels_have_three_channels() -> None:
    assert levels(PIL.Image.new("L", (4, 2), 7)).tolist() == [[[7, 7, 7]] * 4] * 2
