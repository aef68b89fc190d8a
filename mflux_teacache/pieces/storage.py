"""How a cached residual is kept: as it is, or in a dtype of half the memory."""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx

DTYPES: dict[str, mx.Dtype] = {"bfloat16": mx.bfloat16, "float16": mx.float16}

# float16 ends at 65504, and streams go beyond that: FLUX.2 [klein]'s to about 1e5 (mflux's ComputePrecision). So each
# residual is divided by a number of its own that makes its largest value this one: nothing overflows, and nobody has to
# wait for the device to find out whether something did.
_PEAK = 2.0**15
_TINIEST_PEAK = 2.0**-100  # of a residual that is nothing but zeros


class Kept(NamedTuple):
    """A residual in the cache.

    Attributes:
        array: as it is kept; not evaluated.
        dtype: the body's stream's, in which it is reused.
        scale: what to multiply ``array`` with, float32; ``None`` = 1.
    """

    array: mx.array
    dtype: mx.Dtype
    scale: mx.array | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it takes once it is evaluated."""
        return self.array.nbytes + (0 if self.scale is None else self.scale.nbytes)

    @property
    def narrowed(self) -> bool:
        """It is not the array that was given, so nobody else evaluates it."""
        return self.array.dtype != self.dtype

    def evaluate(self) -> None:
        """Begin to evaluate it, without waiting. A lazy cast would keep the wide array, and how it was made."""
        mx.async_eval(*(array for array in (self.array, self.scale) if array is not None))

    def in_float32(self) -> mx.array:
        array = self.array.astype(mx.float32)
        return array if self.scale is None else array * self.scale

    def restored(self) -> mx.array:
        """In the stream's dtype; the very array that was given, if that was not narrowed."""
        return self.in_float32().astype(self.dtype) if self.narrowed else self.array


def keep(residual: mx.array, dtype: str | None) -> Kept:
    """Narrow a residual, if that saves memory.

    Rounding is to nearest, so a value comes back with a relative error of at most 2^-8 from bfloat16 and 2^-11 from
    float16. The range of bfloat16 is float32's. In float16, values below 2^-29 of the residual's largest are rounded
    to within 2^-29 of that. A residual that is not finite stays so.

    Args:
        residual: of a body, in its stream's dtype.
        dtype: one of ``DTYPES``; ``None`` = the stream's own. A stream that is no wider stays as it is: bfloat16 asked
            for as float16 would save nothing.
    """
    if dtype is None or (narrow := DTYPES[dtype]).size >= residual.dtype.size:
        return Kept(residual, residual.dtype)
    if narrow == mx.bfloat16:
        return Kept(residual.astype(narrow), residual.dtype)
    scale = mx.maximum(mx.abs(residual).max(), _TINIEST_PEAK) / _PEAK
    return Kept((residual / scale).astype(narrow), residual.dtype, scale)
