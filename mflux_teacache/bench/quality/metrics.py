"""How far one image is from another of its size, both in 8 bits. Needs scikit-image, of the extra ``bench``."""

from __future__ import annotations

from typing import Any

import numpy as np
from skimage.metrics import mean_squared_error, structural_similarity

Levels = np.ndarray[Any, np.dtype[np.uint8]]

PEAK = 255


def squared_error(image: Levels, reference: Levels) -> float:
    """Mean over all pixels and channels, in squared levels."""
    return float(mean_squared_error(reference, image))


def ssim(image: Levels, reference: Levels) -> float:
    """Structural similarity (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861), mean over channels; 1 = equal.

    Args:
        image, reference: ``(height, width, channels)``, at least 7 pixels high and wide.
    """
    return float(structural_similarity(reference, image, channel_axis=2, data_range=PEAK))
