"""Where the computed steps of a budget lie, known before the run begins. Pure, no mlx.

A published list names the computed steps of one schedule, at so many steps. Taken as a density of computed steps over
the noise level, it can be carried over to another number of steps, another schedule, or an image-to-image run that
starts late, and two of them can be mixed for a budget between theirs. The density is linear between two computed steps
of a list: if a list computes the steps 10 and 14, each of the four steps from 10 on holds a quarter of a computed step.

The rule for a run: (1) the density of each list is cut to the run's range; (2) of the lists that still hold less and
more than the budget, the nearest two are mixed so that they hold the budget; (3) no step can hold more than one
computed step, and what is too much goes to the others in proportion; (4) a step is computed where the number of
computed steps, counted to the middle of the step's stretch, reaches the next whole number. Where the run's noise
levels are those of a list and the budget is its own, that gives the list itself.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

# Computed steps that each step of a run holds, up to the next one; the last step has no place in it.
Density: TypeAlias = list[float]

_LEAST_HELD = 1e-12  # by steps that are hardly apart, so that they can be filled where all others are full

_TIE = 1e-6  # a whole number is reached in the very middle of a step, whatever rounding does to it

# A run that computes less has its last step extrapolated, and one that computes all needs no plan.
LEAST = 2


class Carried(NamedTuple):
    """A budget's steps in a run.

    Attributes:
        steps: the computed ones, rising, from 0 to the run's last.
        lists: which of the given lists their density is that of, at most two.
    """

    steps: tuple[int, ...]
    lists: tuple[int, ...]


def carried_over(lists: Sequence[Sequence[float]], run: Sequence[float], computed: int) -> Carried:
    """The steps that a run computes, after lists that were made for other runs.

    Args:
        lists: for each list the places of its computed steps, falling: noise levels, or anything that runs along the
            schedule. Needs at least one list of at least two.
        run: the places of all steps of the run, falling, on the same scale.
        computed: how many are computed, from 2 to one less than the run has.
    """
    densities = [_density(places, run) for places in lists]
    held = [round(sum(density), 9) for density in densities]  # so that a list of the very budget stands alone
    shares = _enclosing(held, computed - 1)
    mixed = [sum(share * densities[number][step] for number, share in shares.items()) for step in range(len(run) - 1)]
    return Carried(_crossings(_filled(mixed, computed - 1), computed), tuple(sorted(shares)))


def _density(places: Sequence[float], run: Sequence[float]) -> Density:
    # A list ends where the run ends, wherever that is: both compute their last step. One that begins later than the run
    # is taken to begin with it; one that begins earlier is cut.
    first, *others, _ = (max(place, run[-1]) for place in places)
    rising = [-place for place in (max(first, run[0]), *others, run[-1])]
    before = [_before(-place, rising) for place in run]
    return [max(_LEAST_HELD, later - earlier) for earlier, later in pairwise(before)]


def _before(place: float, rising: Sequence[float]) -> float:
    """How many places of a list lie before one of a run, with the part of a stretch that is passed."""
    after = bisect_right(rising, place)
    if after == len(rising):
        return after - 1
    return after - 1 + (place - rising[after - 1]) / (rising[after] - rising[after - 1])


def _enclosing(held: Sequence[float], wanted: float) -> dict[int, float]:
    """By the lists' numbers, with what shares to mix them so that they hold what is wanted, if they can."""
    ranked = sorted((amount, number) for number, amount in enumerate(held))
    place = bisect_left(ranked, (wanted, 0))
    if place in (0, len(ranked)):
        return {ranked[min(place, len(ranked) - 1)][1]: 1.0}
    (less, below), (more, above) = ranked[place - 1 : place + 1]
    share = (wanted - less) / (more - less)
    return {above: 1.0} if share == 1 else {below: 1 - share, above: share}


def _filled(density: Density, wanted: int) -> Density:
    """A density that holds ``wanted`` in all, fewer than it has steps, and at most 1 in each."""
    full: set[int] = set()
    while True:
        rest = {step: held for step, held in enumerate(density) if step not in full}
        scale = (wanted - len(full)) / sum(rest.values())
        over = {step for step, held in rest.items() if scale * held >= 1}
        if not over:
            return [scale * rest[step] if step in rest else 1.0 for step in range(len(density))]
        full |= over


def _crossings(density: Density, computed: int) -> tuple[int, ...]:
    """The first step, the last, and between them those in whose middle a whole number of computed steps is reached."""
    last = len(density)
    chosen = [0]
    for step, (held, reached) in enumerate(zip(density, accumulate(density), strict=True)):
        # The run's last step is not reached before its end, but for rounding.
        if step and len(chosen) < computed - 1 and reached - held / 2 >= len(chosen) - _TIE:
            chosen.append(step)
    return (*chosen, last)


def shifted(steps: int, shift: float, terminal: float | None = None) -> list[float]:
    """Noise levels of a schedule of so many steps: even ones, shifted in time, falling from 1.

    ``exp(shift) / (exp(shift) + 1 / s - 1)`` for s from 1 to ``1 / steps``, as in Flux and its successors (arXiv
    2403.03206, section 5.3.2); the shift depends on the model and on the size of the image.

    Args:
        terminal: what the last noise level is stretched to, as Qwen-Image's is to 0.02.
    """
    even = [1 - step / steps for step in range(steps)]
    sigmas = [math.exp(shift) / (math.exp(shift) + 1 / level - 1) for level in even]
    if terminal is None:
        return sigmas
    stretch = (1 - terminal) / (1 - sigmas[-1])
    return [1 - stretch * (1 - sigma) for sigma in sigmas]
