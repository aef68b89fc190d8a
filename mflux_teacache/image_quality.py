"""How far one image is from another of its size, both in 8 bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import PIL.Image

Levels = np.ndarray[Any, np.dtype[np.uint8]]

_PEAK = 255


def levels(image: PIL.Image.Image) -> Levels:
    """``(height, width, 3)``."""
    return np.asarray(image.convert("RGB"))


def squared_error(image: Levels, reference: Levels) -> float:
    """Mean over all pixels and channels, in squared levels."""
    return float(np.mean(np.square(image.astype(np.float64) - reference)))


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal images."""
    return 10 * math.log10(_PEAK**2 / squared_error) if squared_error else math.inf


def ssim(image: Levels, reference: Levels) -> float:
    """Structural similarity (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861), mean over channels; 1 = equal.

    Needs scikit-image, of the extra ``bench``.

    Args:
        image, reference: at least 7 pixels high and wide.
    """
    from skimage.metrics import structural_similarity

    return float(structural_similarity(reference, image, channel_axis=2, data_range=_PEAK))
