"""How far arrays are apart, in float32. Nothing is evaluated here: whoever reads a number waits for the device."""

from __future__ import annotations

import mlx.core as mx


def mean_change(now: mx.array, earlier: mx.array) -> mx.array:
    """``mean|now - earlier|``; NaN where the shapes differ."""
    if now.shape != earlier.shape:
        return mx.array(float("nan"))
    return mx.abs(now.astype(mx.float32) - earlier.astype(mx.float32)).mean()


# Compiled, since launching kernels is most of what a skipped step of a small image takes.
@mx.compile
def relative_l1(now: mx.array, earlier: mx.array) -> mx.array:
    """``mean|now - earlier| / mean|earlier|`` of two arrays of one shape."""
    now, earlier = now.astype(mx.float32), earlier.astype(mx.float32)
    return mx.abs(now - earlier).mean() / mx.abs(earlier).mean()
