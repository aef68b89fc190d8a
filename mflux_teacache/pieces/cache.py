"""What is reused: residuals of the last computed steps, held or forecast, in their own dtype or in half the memory."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import mlx.core as mx

from mflux_teacache.pieces.forecast import DEFAULT_ORDER, ORDERS, weights

if TYPE_CHECKING:
    from mflux_teacache.records import Body

DTYPES: dict[str, mx.Dtype] = {"bfloat16": mx.bfloat16, "float16": mx.float16}

# float16 ends at 65504, and streams go beyond that: FLUX.2 [klein]'s to about 1e5 (mflux's ComputePrecision). So each
# residual is divided by a number of its own that makes its largest value this one: nothing overflows, and nobody has to
# wait for the device to find out whether something did.
_PEAK = 2.0**15
_TINIEST_PEAK = 2.0**-100  # of a residual that is nothing but zeros

# The options of ``add_options`` by their keywords, and what an image records of its cache.
VALUES = ("forecast", "cache_dtype")

# On the command line, in place of a dtype.
STREAMS_OWN = "none"


def add_options(group: argparse._ArgumentGroup, plugin: str, default: int = DEFAULT_ORDER) -> None:
    """Declare ``--<plugin>-forecast`` and ``--<plugin>-cache-dtype``: what ``ResidualCache`` takes.

    Args:
        default: order of the forecast.
    """
    group.add_argument(
        f"--{plugin}-forecast",
        type=int,
        choices=ORDERS,
        default=default,
        help="in a skipped step, hold the last computed residual (0), or extrapolate it in the noise level from the "
        "last 2 (1) or 3 (2) computed ones, each of which takes memory (default: %(default)s)",
    )
    group.add_argument(
        f"--{plugin}-cache-dtype",
        type=_cache_dtype,
        metavar="DTYPE",
        help=f"keep residuals in {' or '.join(DTYPES)} where the model's stream is of a wider dtype, such as float32: "
        f"half the memory, and what is reused is rounded; {STREAMS_OWN} keeps them in the stream's own (the default)",
    )


def _cache_dtype(text: str) -> str | None:
    """``None`` for the stream's own, whatever a sidecar has recorded.

    Raises:
        argparse.ArgumentTypeError: no dtype that saves memory.
    """
    if text not in (*DTYPES, STREAMS_OWN):
        raise argparse.ArgumentTypeError(
            f"invalid choice: {text!r} (choose from {', '.join(map(repr, (*DTYPES, STREAMS_OWN)))})"
        )
    return None if text == STREAMS_OWN else text


def from_options(options: argparse.Namespace) -> ResidualCache:
    """The empty cache that the options of ``add_options`` ask for."""
    return ResidualCache(options.forecast, options.cache_dtype)


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


class _Computed(NamedTuple):
    sigma: float | None
    residual: Kept


class ResidualCache:
    """What the last computed steps added to their input, by the numbers of the guidance branches.

    It holds the last ``order + 1`` computed residuals of each branch, and nothing is computed until a residual is
    reused. Fill it in ``mflux_post_transformer`` and empty it in ``mflux_generation_end``.

    Args:
        order: 0 hands out the newest residual as it is, 1 and 2 extrapolate linearly and quadratically.
        dtype: ``bfloat16`` or ``float16`` keeps residuals of wider streams, such as float32, in that: half the memory,
            rounded to a relative 2^-8 or 2^-11 (``keep``). ``None`` = the stream's own.
    """

    def __init__(self, order: int = DEFAULT_ORDER, dtype: str | None = None) -> None:
        if order not in ORDERS:
            raise ValueError(f"the forecast's order is {order!r}; it must be one of {', '.join(map(str, ORDERS))}")
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f"the cache's dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}, or None")
        self.order = order
        self.dtype = dtype
        self._branches: dict[int, deque[_Computed]] = {}

    @property
    def values(self) -> dict[str, Any]:
        """For ``mflux_image_metadata``: what a replay needs to reuse in the same way, by the names of ``VALUES``."""
        return dict(zip(VALUES, (self.order, self.dtype), strict=True))

    @property
    def empty(self) -> bool:
        """No branch has a residual."""
        return not any(self._branches.values())

    @property
    def nbytes(self) -> int:
        """Memory that the residuals take once they are evaluated."""
        return sum(computed.residual.nbytes for branch in self._branches.values() for computed in branch)

    def store(self, sigma: float | None, body: Body) -> None:
        """Take in what a step computed. A branch that was reused in it, as all are in a skipped step, adds nothing.

        A residual of another shape or dtype than its branch's last one takes the place of all of them. One that is
        narrowed is evaluated with the step, and without waiting: nothing holds the wide one then.

        Args:
            sigma: the step's noise level; ``None`` where it cannot be told, then forecasts hold.
            body: what the step's body did. Branches that it does not have are dropped: mflux may end guidance before
                the run ends.
        """
        # Made anew in each step, so that a branch that mflux no longer runs takes its arrays with it.
        before, self._branches = self._branches, {}
        for branch in body.branches:
            history = self._branches[branch.index] = before.get(branch.index) or deque(maxlen=self.order + 1)
            if not branch.reused:
                residual = keep(branch.residual, self.dtype)
                if residual.narrowed:
                    residual.evaluate()
                # Of another size, or after the model was cast, the old ones are no nodes of the same curve.
                if history and not _alike(history[0].residual, residual):
                    history.clear()
                history.appendleft(_Computed(sigma, residual))

    def residuals(self, sigma: float | None) -> tuple[mx.array | None, ...]:
        """For ``Decision.reuse``, by the branches' numbers: ``(batch, rows, width)`` in the body's dtype.

        They are not evaluated. A held residual is the very array that was stored, unless it was narrowed. An
        extrapolated one is summed in float32 and rounded once: one elementwise operation per residual, in skipped steps
        only. ``None`` for a branch that never computed.

        Args:
            sigma: the noise level of the step that reuses them; ``None`` holds.

        Raises:
            LookupError: nothing is stored.
        """
        if self.empty:
            raise LookupError(
                "the residual cache is empty: no step was computed since it was made or cleared. "
                "Compute a step and store() its body before reusing it."
            )
        histories = (self._branches.get(number) for number in range(max(self._branches) + 1))
        return tuple(_forecast(sigma, history, self.order) if history else None for history in histories)

    def clear(self) -> None:
        """Drop the arrays."""
        self._branches.clear()


def _forecast(sigma: float | None, history: Sequence[_Computed], order: int) -> mx.array:
    newest = history[0].residual
    if order == 0 or len(history) == 1:
        return newest.restored()
    [first, *others] = weights(sigma, [computed.sigma for computed in history], order)
    if not others:
        return newest.restored()
    # In float32 to the end: the weights have both signs, and what they cancel would be lost in a narrow dtype.
    total = first * newest.in_float32()
    for weight, computed in zip(others, list(history)[1:], strict=False):
        total = total + weight * computed.residual.in_float32()
    return total.astype(newest.dtype)


def _alike(one: Kept, other: Kept) -> bool:
    """By the dtype of the stream: residuals of two streams may be kept in one dtype."""
    return one.array.shape == other.array.shape and one.dtype == other.dtype
