"""What is reused: residuals of the body, or outputs of the transformer, from the last computed steps.

They are held or forecast, in their own dtype or in half the memory.
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import mlx.core as mx

from mflux_teacache.about import Reuses
from mflux_teacache.pieces.forecast import DEFAULT_ORDER, MAX_GAIN, MAX_GAIN_OF_OUTPUTS, ORDERS, weights
from mflux_teacache.step import Body, BodyBranch

DTYPES: dict[str, mx.Dtype] = {"bfloat16": mx.bfloat16, "float16": mx.float16}

# float16 ends at 65504, and streams go beyond that: FLUX.2 [klein]'s to about 1e5 (mflux's ComputePrecision). So each
# residual is divided by a number of its own, which brings its largest value to this one. Then nothing overflows, and
# nothing has to wait for the device to find out whether something did.
_PEAK = 2.0**15
_TINIEST_PEAK = 2.0**-100  # keeps a residual of nothing but zeros from being divided by 0

# The keywords of the options of ``add_options``, under which an image also records its cache.
VALUES = ("forecast", "cache_dtype", "reuse")

# On the command line, in place of a dtype.
STREAMS_OWN = "none"

# On the demo's model, from 9 computed steps of 28 up, the quadratic forecast of outputs is the best one
# (docs/strategies.md).
ORDER_OF_OUTPUTS = 2


def add_options(
    group: argparse._ArgumentGroup, plugin: str, order: int = DEFAULT_ORDER, reuses: Reuses | None = "body"
) -> None:
    """Declare the options of a cache: ``--<plugin>-reuse``, ``--<plugin>-forecast`` and ``--<plugin>-cache-dtype``.

    Args:
        order: the default order of the forecast of residuals. For outputs it is ``ORDER_OF_OUTPUTS``.
        reuses: what is reused by default, a key of ``CACHES``.
    """
    group.add_argument(
        f"--{plugin}-reuse",
        choices=tuple(CACHES),
        default=reuses,
        help="in a skipped step, reuse what the transformer's body added to its input (body), or what the whole "
        "transformer returned (output), which takes no time and little memory (default: %(default)s)",
    )
    group.add_argument(
        f"--{plugin}-forecast",
        type=int,
        choices=ORDERS,
        help="in a skipped step, hold what was computed last (0), or extrapolate it in the noise level from the last "
        f"2 (1) or 3 (2) computed steps (default: {order} for the body, {ORDER_OF_OUTPUTS} for outputs)",
    )
    group.add_argument(
        f"--{plugin}-cache-dtype",
        type=_cache_dtype,
        metavar="DTYPE",
        help=f"keep what is reused in {' or '.join(DTYPES)} where the model's is of a wider dtype, such as float32: "
        f"half the memory, and rounded; {STREAMS_OWN} keeps the model's own (the default)",
    )


def _cache_dtype(text: str) -> str | None:
    """The dtype's name; ``None`` for the stream's own, which can also replace what a sidecar has recorded.

    Raises:
        argparse.ArgumentTypeError: it names no dtype that saves memory.
    """
    if text not in (*DTYPES, STREAMS_OWN):
        raise argparse.ArgumentTypeError(
            f"invalid choice: {text!r} (choose from {', '.join(map(repr, (*DTYPES, STREAMS_OWN)))})"
        )
    return None if text == STREAMS_OWN else text


def from_options(options: argparse.Namespace, order: int = DEFAULT_ORDER) -> Cache:
    """The empty cache that the options of ``add_options`` ask for; ``order`` must be the same as there."""
    return CACHES[options.reuse](order_of(options, order), options.cache_dtype)


def order_of(options: argparse.Namespace, order: int = DEFAULT_ORDER) -> int:
    """The order of the forecast that the options ask for; ``order`` must be the same as in ``add_options``."""
    given: int | None = options.forecast
    if given is None:
        return order if options.reuse == "body" else ORDER_OF_OUTPUTS
    return given


class Kept(NamedTuple):
    """A residual or output in the cache.

    Attributes:
        array: the array as it is kept; not evaluated.
        dtype: the model's dtype, in which it is reused.
        scale: the float32 factor for ``array``; ``None`` stands for 1.
    """

    array: mx.array
    dtype: mx.Dtype
    scale: mx.array | None = None

    @property
    def nbytes(self) -> int:
        """The memory in bytes that it takes once it is evaluated."""
        return self.array.nbytes + (0 if self.scale is None else self.scale.nbytes)

    @property
    def narrowed(self) -> bool:
        """Whether it is another array than the given one, so that nothing else evaluates it."""
        return self.array.dtype != self.dtype

    def evaluate(self) -> None:
        """Begin to evaluate it, without waiting."""
        # A lazy cast would hold the wide array, and the graph that made it, until the next step.
        mx.async_eval(*(array for array in (self.array, self.scale) if array is not None))

    def in_float32(self) -> mx.array:
        array = self.array.astype(mx.float32)
        return array if self.scale is None else array * self.scale

    def restored(self) -> mx.array:
        """The array in the model's dtype; if it was not narrowed, the same object that was given."""
        return self.in_float32().astype(self.dtype) if self.narrowed else self.array


def keep(array: mx.array, dtype: str | None) -> Kept:
    """Narrow a residual or output, if that saves memory.

    Rounding is to nearest, so a value comes back with a relative error of at most 2^-8 from bfloat16 and 2^-11 from
    float16. The range of bfloat16 is float32's. In float16, values below 2^-29 of the array's largest are rounded
    to within 2^-29 of that. An array that is not finite stays so.

    Args:
        array: an array in the model's dtype.
        dtype: one of ``DTYPES``; ``None`` for the model's own. An array that is no wider than this stays as it is.
    """
    # Turning bfloat16 into float16, say, would lose accuracy and save nothing.
    if dtype is None or (narrow := DTYPES[dtype]).size >= array.dtype.size:
        return Kept(array, array.dtype)
    if narrow == mx.bfloat16:
        return Kept(array.astype(narrow), array.dtype)
    scale = mx.maximum(mx.abs(array).max(), _TINIEST_PEAK) / _PEAK
    return Kept((array / scale).astype(narrow), array.dtype, scale)


class _Computed(NamedTuple):
    sigma: float | None
    kept: Kept


class Cache(ABC):
    """What the last computed steps gave, by the numbers of the guidance branches.

    It holds the arrays of the last ``order + 1`` computed steps of each branch, and computes nothing until they are
    reused. Fill it in ``mflux_post_transformer`` and empty it in ``mflux_generation_end``.

    Args:
        order: 0 hands out the newest array as it is, 1 and 2 extrapolate linearly and quadratically.
        dtype: ``bfloat16`` or ``float16`` keeps arrays of a wider dtype, such as float32, in half the memory, rounded
            to a relative 2^-8 or 2^-11 (``keep``). ``None`` keeps the model's own.

    Attributes:
        reuses: what it holds, in the words of ``About.reuses``; its key in ``CACHES``.
        max_gain: the bound of its forecast.

    Raises:
        ValueError: there is no such order or dtype.
    """

    reuses: ClassVar[Reuses]
    max_gain: ClassVar[float]

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
        """What a replay needs to reuse in the same way, by the names of ``VALUES``; for ``mflux_image_metadata``."""
        return dict(zip(VALUES, (self.order, self.dtype, self.reuses), strict=True))

    @property
    def empty(self) -> bool:
        """Whether no branch has anything to reuse."""
        return not any(self._branches.values())

    @property
    def nbytes(self) -> int:
        """The memory in bytes that all of it takes once it is evaluated."""
        return sum(computed.kept.nbytes for branch in self._branches.values() for computed in branch)

    def store(self, sigma: float | None, body: Body) -> None:
        """Take in what a step computed. A branch that was reused in it, as all are in a skipped step, adds nothing.

        An array of another shape or dtype than its branch's last one replaces all of them. A narrowed array is
        evaluated with the step, without waiting, so that nothing holds the wide one.

        Args:
            sigma: the step's noise level; ``None`` if it cannot be told, and forecasts then hold.
            body: what the step's body did. Branches that it does not have are dropped, since mflux may end guidance
                before the run ends.
        """
        # Made anew in each step, so that a branch that mflux no longer runs takes its arrays with it.
        before, self._branches = self._branches, {}
        for branch in body.branches:
            history = self._branches[branch.index] = before.get(branch.index) or deque(maxlen=self.order + 1)
            if not branch.reused and (array := self._array(branch)) is not None:
                kept = keep(array, self.dtype)
                if kept.narrowed:
                    kept.evaluate()
                # Of another size, or after the model was cast, the old ones are no nodes of the same curve.
                if history and not _alike(history[0].kept, kept):
                    history.clear()
                history.appendleft(_Computed(sigma, kept))

    @abstractmethod
    def _array(self, branch: BodyBranch) -> mx.array | None:
        """What is kept of a computed branch."""

    def arrays(self, sigma: float | None) -> tuple[mx.array | None, ...]:
        """What to reuse, by the branches' numbers, in the model's dtype.

        They are not evaluated. A held array is the one that was stored, unless it was narrowed. An extrapolated one is
        summed in float32 and rounded once, which takes one elementwise operation per array, in skipped steps only. A
        branch that never computed has ``None``.

        Args:
            sigma: the noise level of the step that reuses them; with ``None``, arrays are held.

        Raises:
            LookupError: nothing is stored.
        """
        if self.empty:
            raise LookupError(
                "the cache is empty: no step was computed since it was made or cleared. "
                "Compute a step and store() its body before reusing it."
            )
        histories = (self._branches.get(number) for number in range(max(self._branches) + 1))
        return tuple(self._forecast(sigma, history) if history else None for history in histories)

    def clear(self) -> None:
        """Drop the arrays."""
        self._branches.clear()

    def _forecast(self, sigma: float | None, history: Sequence[_Computed]) -> mx.array:
        newest = history[0].kept
        if self.order == 0 or len(history) == 1:
            return newest.restored()
        nodes = [computed.sigma for computed in history]
        return _weighted(weights(sigma, nodes, self.order, self.max_gain), [computed.kept for computed in history])


class ResidualCache(Cache):
    """What the body added to its input: ``(batch, rows, width)`` in the stream's dtype."""

    reuses = "body"
    max_gain = MAX_GAIN

    def _array(self, branch: BodyBranch) -> mx.array:
        return branch.residual

    def residuals(self, sigma: float | None) -> tuple[mx.array | None, ...]:
        """For ``Decision.reuse``: ``arrays``."""
        return self.arrays(sigma)


class OutputCache(Cache):
    """What the transformer returned, of the latents' size."""

    reuses = "output"
    max_gain = MAX_GAIN_OF_OUTPUTS

    def _array(self, branch: BodyBranch) -> mx.array | None:
        return branch.model_output

    def outputs(self, sigma: float | None) -> tuple[mx.array | None, ...]:
        """For ``Decision.reuse_outputs``: ``arrays``."""
        return self.arrays(sigma)


CACHES: dict[str, type[Cache]] = {cache.reuses: cache for cache in (ResidualCache, OutputCache)}


def _weighted(weights: Sequence[float], kept: Sequence[Kept]) -> mx.array:
    """The sum of the newest arrays, each times its weight."""
    [first, *others], [newest, *older] = weights, kept
    if not others:
        return newest.restored()
    # In float32 to the end: the weights have both signs, and a narrow dtype would lose what is left when terms cancel.
    total = first * newest.in_float32()
    for weight, array in zip(others, older, strict=False):
        total = total + weight * array.in_float32()
    return total.astype(newest.dtype)


def _alike(one: Kept, other: Kept) -> bool:
    """Whether both can be nodes of one curve."""
    # By the model's dtype and not by that of the array, since arrays of two dtypes may be kept in the same one.
    return one.array.shape == other.array.shape and one.dtype == other.dtype
