"""How far one image is from another of its size, both in 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np

Levels = np.ndarray[Any, np.dtype[np.uint8]]
_Values = np.ndarray[Any, np.dtype[np.float64]]

PEAK = 255
# The constants of Wang et al. 2004 (https://doi.org/10.1109/TIP.2003.819861); windows of 7 pixels, equal weights
# and sample covariances, as in scikit-image's structural_similarity with its defaults, which gives the same value.
_WINDOW = 7
_C1 = (0.01 * PEAK) ** 2
_C2 = (0.03 * PEAK) ** 2


def squared_error(image: Levels, reference: Levels) -> float:
    """Mean over all pixels and channels, in squared levels."""
    return float(np.mean((image.astype(np.float64) - reference) ** 2))


def ssim(image: Levels, reference: Levels) -> float:
    """Structural similarity, mean over windows and channels; 1 = equal.

    Args:
        image, reference: ``(height, width, channels)``, at least 7 pixels high and wide.
    """
    x, y = image.astype(np.float64), reference.astype(np.float64)
    mean_x, mean_y = _window_means(x), _window_means(y)
    sample = _WINDOW**2 / (_WINDOW**2 - 1)
    variance_x = sample * (_window_means(x * x) - mean_x**2)
    variance_y = sample * (_window_means(y * y) - mean_y**2)
    covariance = sample * (_window_means(x * y) - mean_x * mean_y)
    alike = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return float(np.mean(alike / ((mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2))))


def _window_means(values: _Values) -> _Values:
    """Of each window that lies in the image."""
    for axis in (0, 1):
        sums = np.cumsum(np.insert(values, 0, 0, axis=axis), axis=axis)
        ahead, behind = (np.take(sums, range(*bounds), axis=axis) for bounds in _bounds(sums.shape[axis]))
        values = (ahead - behind) / _WINDOW
    return values


def _bounds(length: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (_WINDOW, length), (0, length - _WINDOW)
