"""What a skipped step reuses: the last computed residual, held as it is or extrapolated in sigma.

A residual is a smooth function of the noise level, so the computed steps' residuals foretell the next ones. The
forecast is the polynomial through the newest ones, taken at the skipped step's sigma (not at its index: schedules
are uneven). TaylorSeer (Liu et al., arXiv 2503.06923) forecasts by finite differences of the step index.
"""

from __future__ import annotations

import argparse
import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import mlx.core as mx

from mflux_teacache.pieces.storage import DTYPES, Kept, keep

if TYPE_CHECKING:
    from mflux_teacache.records import Body

ORDERS = (0, 1, 2)

# The options of ``add_options`` by their keywords, and what an image records of its cache.
VALUES = ("forecast", "cache_dtype")

# What TeaCache and first-block cache do as published: hold.
DEFAULT_ORDER = 0

# The most that a forecast may multiply the errors of what it is made from (see weights()): linear then reaches half
# as far ahead as its two computed steps are apart, quadratic 0.22 of that. From linear forecasts on the demo's model
# (28 steps, one prompt, guidance 1 and 2.5; every 3rd and 5th step, and teacache at 0.12 and 0.2): of 1 (hold), 1.5, 2,
# 2.5 and 3, the image came nearest to the full run's with 2, or within 1.3 dB of the nearest, and 3.4 to 12.7 dB nearer
# than held, but for every 5th step with guidance: 0.2 dB. With 3 that one was 4.8 dB worse than held.
MAX_GAIN = 2.0

# On the command line, in place of a cache's dtype.
STREAMS_OWN = "none"

# Noise levels that differ by less are the same one: they are float32 numbers from 0 to 1.
_SAME = 1e-6


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


def weights(sigma: float | None, nodes: Sequence[float | None], order: int) -> tuple[float, ...]:
    """How much of each computed residual goes into the one that is foretold for ``sigma``.

    These are Lagrange's weights of the polynomial through the newest nodes, evaluated beyond them. They sum to 1.
    The sum of their absolute values is the gain: what rounding errors and whatever is not smooth in the residuals
    is multiplied with. It grows with the distance, the faster the higher the order and the closer two nodes
    are. Of each order above 0, as much is blended into the next lower one as keeps the gain within ``MAX_GAIN``:
    so a forecast within it is exact for polynomials of its degree, and one that would leave it goes over into
    that of a lower order without a jump.

    Args:
        sigma: noise level to forecast for; ``None`` or not finite = hold.
        nodes: noise levels of the computed steps, newest first. Used as far as they are known and lie in the order
            in which the run passes them on its way to ``sigma``: equal ones, or a turn, end the list.
        order: degree of the polynomial, which takes ``order + 1`` nodes; with fewer it is lower. 0 holds.

    Returns:
        One weight per node that is used, newest first; ``(1.0,)`` holds the newest residual.
    """
    ahead = _distances(sigma, nodes[: order + 1])
    blended = [1.0] + [0.0] * (len(ahead) - 1)
    for count in range(2, len(ahead) + 1):
        exact = _lagrange(ahead[:count])
        share = _share(_gain(blended), _gain(exact))
        blended = [low + share * (high - low) for low, high in zip(blended, [*exact, *blended[count:]], strict=True)]
    return tuple(blended)


def _distances(sigma: float | None, nodes: Iterable[float | None]) -> list[float]:
    """From ``sigma`` back to each node, newest first, positive and growing; at least one entry."""
    if sigma is None or not math.isfinite(sigma):
        return [0.0]
    known = []
    for node in nodes:
        if node is None or not math.isfinite(node):
            break
        known.append(node)
    if len(known) < 2:
        return [0.0]
    way = math.copysign(1.0, known[0] - sigma)
    distances = [way * (node - sigma) for node in known]
    growing = next((i for i, (near, far) in enumerate(pairwise(distances), 1) if far - near < _SAME), len(distances))
    return distances[:growing]


def _lagrange(distances: Sequence[float]) -> list[float]:
    """Weights at 0 of the polynomial through these places."""
    return [
        math.prod(other / (other - own) for j, other in enumerate(distances) if j != i)
        for i, own in enumerate(distances)
    ]


def _gain(weights: Iterable[float]) -> float:
    return sum(map(abs, weights))


def _share(low: float, high: float) -> float:
    """How much of the higher order may be blended in. Beyond the nodes all orders' signs alternate: gains blend too."""
    return 1.0 if high <= MAX_GAIN else (MAX_GAIN - low) / (high - low)


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
            rounded to a relative 2^-8 or 2^-11 (``mflux_teacache.pieces.storage``). ``None`` = the stream's own.
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
        before, self._branches = self._branches, {}
        for branch in body.branches:
            history = self._branches[branch.index] = before.get(branch.index) or deque(maxlen=self.order + 1)
            if not branch.reused:
                residual = keep(branch.residual, self.dtype)
                if residual.narrowed:
                    residual.evaluate()
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
    [first, *others] = weights(sigma, [computed.sigma for computed in history], order)
    if not others:
        return newest.restored()
    total = first * newest.in_float32()
    for weight, computed in zip(others, list(history)[1:], strict=False):
        total = total + weight * computed.residual.in_float32()
    return total.astype(newest.dtype)


def _alike(one: Kept, other: Kept) -> bool:
    """By the dtype of the stream: residuals of two streams may be kept in one dtype."""
    return one.array.shape == other.array.shape and one.dtype == other.dtype
