"""SeaCache's filter: what of a signal is picture and not noise, as far as the noise level tells.

Method: Chung et al., "SeaCache: Spectral-Evolution-Aware Cache for Accelerating Diffusion Models", arXiv 2602.18993,
from its formula. The latents of a step are ``a * picture + b * noise`` with ``a = 1 - sigma`` and ``b = sigma``. Noise
has the same power at every frequency ``f``, and a picture that of ``f**-beta``, so that the linear filter that comes
closest to the picture has the gain

    G(f) = a * f**-beta / (a**2 * f**-beta + b**2) = a / (a**2 + b**2 * f**beta),

which is then divided by its mean. Frequencies are in cycles per token, and the filter works along both axes of the grid
of tokens, for each channel by itself.
"""

from __future__ import annotations

import math
from functools import cache

import mlx.core as mx

BETA = 2.0  # how steeply a picture's power falls with the frequency: the source's for images


def gains(height: int, width: int, sigma: float) -> mx.array:
    """The filter at each frequency of a grid of tokens.

    At frequency 0, where a picture's power has no bound, it is what the second form of ``G`` gives: ``1 / a``. Of pure
    noise, ``a = 0``, the filter is the limit that it has for ``a`` towards 0: it leaves the mean of the tokens, and
    nothing else.

    Args:
        height, width: of the grid, in tokens.
        sigma: noise level, 1 = pure noise; what is outside of 0 to 1 counts as the nearer end.

    Returns:
        ``(height, width)``, float32, in the order of the frequencies of a discrete Fourier transform. Its mean is 1.
    """
    noise = min(max(sigma, 0.0), 1.0)
    picture = 1.0 - noise
    frequency = mx.sqrt(_frequencies(height)[:, None] ** 2 + _frequencies(width) ** 2)
    if picture == 0.0:
        return mx.where(frequency == 0.0, float(height * width), 0.0)
    gain = picture / (picture**2 + noise**2 * frequency**BETA)
    return gain / gain.mean()


def filtered(tokens: mx.array, sigma: float) -> mx.array:
    """What the filter leaves of a signal; not evaluated.

    Args:
        tokens: ``(batch, height, width, channels)``, any floating dtype.
        sigma: noise level, 1 = pure noise.

    Returns:
        The same shape in float32.
    """
    _, height, width, _ = tokens.shape
    return _apply(tokens, gains(height, width, sigma), _transform(height), _transform(width))


# Compiled, so that casts and gains take no kernels of their own.
@mx.compile
def _apply(tokens: mx.array, gain: mx.array, vertical: mx.array, horizontal: mx.array) -> mx.array:
    """To frequencies, and back: one product of matrices along each axis each way, with no transposition between."""
    batch, height, width, channels = tokens.shape

    def transformed(signal: mx.array) -> mx.array:
        rows = (horizontal @ signal).reshape(batch, height, width * channels)
        return (vertical @ rows).reshape(tokens.shape)

    return transformed(gain[..., None] * transformed(tokens.astype(mx.float32)))


@cache
def _transform(size: int) -> mx.array:
    """The discrete Hartley transform, ``(size, size)``: real, and its own inverse.

    Each of its rows is a mixture of the frequencies ``f`` and ``-f`` of a Fourier transform, which this filter treats
    alike. So it does in place of one, without complex numbers and on every backend of MLX.
    """
    turns = mx.arange(size)[:, None] * mx.arange(size) % size  # whole numbers, so that no angle is rounded
    angle = turns.astype(mx.float32) * (2 * math.pi / size)
    matrix = (mx.cos(angle) + mx.sin(angle)) / math.sqrt(size)
    mx.eval(matrix)  # it outlives the thread whose stream it is made on
    return matrix


def _frequencies(size: int) -> mx.array:
    """Of the transform's rows, in cycles per token, without their sign."""
    place = mx.arange(size)
    return mx.minimum(place, size - place).astype(mx.float32) / size
