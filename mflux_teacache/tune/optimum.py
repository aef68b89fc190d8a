"""The plan with the least error for each number of computed steps: a dynamic programme over segments. Pure.

Single steps are never ranked: how much a step matters depends on which steps are computed before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mflux_teacache.tune.segments import Array, Nodes, Segments

# What the error of a segment depends on: the last computed steps, as many as a quadratic forecast takes.
DEPTH = 3

# In place of steps before the first one; step s has the place s + 1.
_NONE = 0


def plans(segments: Segments, budgets: Sequence[int]) -> Mapping[int, Nodes]:
    """The computed steps of the best plan for each budget: exactly so many, the first and the last among them.

    Args:
        budgets: from 2 to the number of steps.
    """
    layers = [_first_layer(segments.steps)]
    choices: list[np.ndarray[Any, np.dtype[np.int32]]] = []
    for _ in range(max(budgets) - 1):
        layer, choice = _next_layer(layers[-1], segments)
        layers.append(layer)
        choices.append(choice)
    return {budget: _traced(layers[budget - 1], choices[: budget - 1]) for budget in budgets}


def _first_layer(steps: int) -> Array:
    """By the places of the last three computed steps: the least error up to there, with the first step computed."""
    layer = np.full((steps + 1,) * DEPTH, np.inf)
    layer[_NONE, _NONE, 1] = 0
    return layer


def _next_layer(layer: Array, segments: Segments) -> tuple[Array, np.ndarray[Any, np.dtype[np.int32]]]:
    """With one more computed step; and for each three the place before them that is best."""
    new, choice = np.full_like(layer, np.inf), np.zeros(layer.shape, dtype=np.int32)
    for middle, last in _pairs(layer):
        befores = np.flatnonzero(np.isfinite(layer[:, middle, last]))
        sums = np.stack(
            [layer[before, middle, last] + segments.after(_nodes(before, middle, last)) for before in befores]
        )
        best = sums.argmin(axis=0)
        later = slice(last, segments.steps)  # steps, whose places are one more
        new[middle, last, last + 1 :] = sums.min(axis=0)[later]
        choice[middle, last, last + 1 :] = befores[best][later]
    return new, choice


def _pairs(layer: Array) -> Iterator[tuple[int, int]]:
    """The places of the last two computed steps, of all that are possible so far."""
    reached = np.argwhere(np.isfinite(layer).any(axis=0))
    yield from ((int(middle), int(last)) for middle, last in reached)


def _traced(layer: Array, choices: Sequence[np.ndarray[Any, np.dtype[np.int32]]]) -> Nodes:
    """The whole plan that ends with the run's last step."""
    last = len(layer) - 1
    before, middle = np.unravel_index(layer[:, :, last].argmin(), layer.shape[:2])
    places = [int(before), int(middle), last]
    for choice in reversed(choices[DEPTH - 1 :]):
        places.insert(0, int(choice[places[0], places[1], places[2]]))
    return _nodes(*places)


def _nodes(*places: int | np.integer[Any]) -> Nodes:
    return tuple(int(place) - 1 for place in places if place != _NONE)
