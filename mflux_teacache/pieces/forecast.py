"""How a forecast weighs the computed steps: a polynomial in the noise level, with a bound on its errors. Pure, no mlx.

What a step computes is a smooth function of the noise level, so the computed steps predict the next ones. The
forecast is the polynomial through the newest ones, evaluated at the skipped step's sigma, and not at its index, because
schedules are uneven. TaylorSeer (Liu et al., arXiv 2503.06923) forecasts by finite differences of the step index.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

ORDERS = (0, 1, 2)

# 0 holds, as TeaCache and first-block cache do in their publications.
DEFAULT_ORDER = 0

# By how much a forecast may multiply the errors of what it is made from (see weights()). With 2, a linear forecast
# reaches half as far ahead as its two computed steps are apart, and a quadratic one 0.22 of that. The figure comes from
# linear forecasts on the demo's model (28 steps, one prompt, guidance 1 and 2.5; every 3rd and 5th step, and teacache
# at 0.12 and 0.2), tried with 1 (hold), 1.5, 2, 2.5 and 3. With 2 the image was nearest to the full run's, or within
# 1.3 dB of the nearest, and it was 3.4 to 12.7 dB nearer than with held residuals, except for every 5th step with
# guidance: there it was 0.2 dB nearer, and with 3 it was 4.8 dB farther than held.
MAX_GAIN = 2.0

# The same for the transformer's outputs, which are smoother. On six recorded full runs of the demo's model (28 steps,
# guidance 2.5, even patterns) the quadratic forecast errs, with 2, 3 and 4 as its bound, by 71, 62 and 60 with 7
# computed steps, by 48, 40 and 38 with 9, by 19, 15 and 13 with 14, and by 17, 9 and 7 with 20: thousandths, the root
# of the summed squares of error times step length. In the images of an earlier model, where errors add up, 3 was 1.9
# to 2.7 dB better than 2 from 9 computed steps up, and 2.5 dB worse with 7.
MAX_GAIN_OF_OUTPUTS = 3.0

# Noise levels that differ by less count as equal. They are float32 numbers from 0 to 1, which are rounded by 6e-8.
_SAME = 1e-6


def weights(
    sigma: float | None, nodes: Sequence[float | None], order: int, max_gain: float = MAX_GAIN
) -> tuple[float, ...]:
    """How much of each computed residual or output goes into the one that is predicted for ``sigma``.

    These are Lagrange's weights of the polynomial through the newest nodes, evaluated beyond them. They sum to 1.
    The sum of their absolute values is the gain, by which rounding errors and everything else that is not smooth in the
    computed steps are multiplied. It grows with the distance, and grows faster with a higher order and with closer
    nodes. Each order above 0 is blended into the next lower one as far as the gain stays within ``max_gain``. So a
    forecast within that bound is exact for polynomials of its degree, and one beyond it passes into that of a lower
    order without a jump.

    Args:
        sigma: noise level to forecast for; ``None`` or not finite = hold.
        nodes: noise levels of the computed steps, newest first. They are used as far as they are known and lie in the
            order in which the run passes them on its way to ``sigma``; the first one that is equal to the one before,
            or that turns back, ends the list.
        order: degree of the polynomial, which takes ``order + 1`` nodes; with fewer it is lower. 0 holds.
        max_gain: the bound, from 1.

    Returns:
        One weight per node that is used, newest first; ``(1.0,)`` holds the newest residual.
    """
    ahead = _distances(sigma, nodes[: order + 1])
    blended = [1.0] + [0.0] * (len(ahead) - 1)
    for count in range(2, len(ahead) + 1):
        exact = _lagrange(ahead[:count])
        share = _share(_gain(blended), _gain(exact), max_gain)
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
    way = math.copysign(1.0, known[0] - sigma)  # schedules fall as a rule, but nothing here relies on it
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


def _share(low: float, high: float, most: float) -> float:
    """How much of the higher order may be blended in."""
    # Beyond the nodes the signs of the weights alternate in every order, so the gain of a blend is the blend of gains.
    return 1.0 if high <= most else (most - low) / (high - low)
