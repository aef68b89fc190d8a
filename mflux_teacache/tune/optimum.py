"""The plan with the least error for each number of computed steps: a dynamic programme over segments. Pure.

Single steps are never ranked: how much a step matters depends on which steps are computed before it. What segments do
not tell is how their errors add up over the whole run. So a plan is the programme's optimum, from which steps are moved
as long as the error of the whole run falls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np

from mflux_teacache.tune.segments import Array, Nodes, Segments

# By the places of three computed steps, the place before them.
Choice: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]

# What the error of a segment depends on: the last computed steps, as many as a quadratic forecast takes.
DEPTH = 3

# In place of steps before the first one; step s has the place s + 1.
_NONE = 0

# By how many steps a computed one is moved at once.
_FARTHEST = 3


def plans(segments: Segments, budgets: Sequence[int]) -> Mapping[int, Nodes]:
    """The computed steps of the best plan for each budget: exactly so many, the first among them.

    The last step is one like the others: where outputs can be forecast, it is often not worth one of few computed ones.

    Args:
        budgets: from 2 to the number of steps.
    """
    return {budget: _settled(nodes, segments) for budget, nodes in by_segments(segments, budgets).items()}


def by_segments(segments: Segments, budgets: Sequence[int]) -> Mapping[int, Nodes]:
    """The plans whose segments err least, each taken by itself. Arguments as for ``plans``."""
    errors = cache(partial(_errors, segments))
    layer, layers, choices = _first_layer(segments.steps), {}, []
    for computed in range(2, max(budgets) + 1):
        layer, choice = _next_layer(layer, errors)
        choices.append(choice)
        if computed in budgets:
            layers[computed] = layer
    return {budget: _traced(layers[budget], choices[: budget - 1], segments) for budget in budgets}


def _settled(nodes: Nodes, segments: Segments) -> Nodes:
    """Moves one computed step at a time, as long as that makes the whole run's error smaller."""
    least = segments.of_run(nodes)
    while moved := set(_moved(nodes, segments.steps)):
        error, best = min((segments.of_run(other), other) for other in moved)
        if error >= least:
            break
        least, nodes = error, best
    return nodes


def _moved(nodes: Nodes, steps: int) -> Iterator[Nodes]:
    for step in nodes[1:]:
        others = set(nodes) - {step}
        for place in range(max(1, step - _FARTHEST), min(steps, step + _FARTHEST + 1)):
            if place not in nodes:
                yield tuple(sorted(others | {place}))


def _first_layer(steps: int) -> Array:
    """By the places of the last three computed steps: the least error up to there, with the first step computed."""
    layer = np.full((steps + 1,) * DEPTH, np.inf)
    layer[_NONE, _NONE, 1] = 0
    return layer


def _next_layer(layer: Array, errors: Callable[[int, int], Array]) -> tuple[Array, Choice]:
    """With one more computed step; and for each three the place before them that is best."""
    new, choice = np.full_like(layer, np.inf), np.zeros(layer.shape, dtype=np.int32)
    for middle, last in _pairs(layer):
        off = errors(middle, last)
        sums = layer[: len(off), middle, last, None] + off
        later = slice(last, -1)  # steps, whose places are one more; the end of the run is none
        new[middle, last, last + 1 :] = sums.min(axis=0)[later]
        choice[middle, last, last + 1 :] = sums.argmin(axis=0)[later]
    return new, choice


def _errors(segments: Segments, middle: int, last: int) -> Array:
    """Of skipping after two places, by each place before them and by the step that is computed next."""
    return np.stack([segments.after(_nodes(before, middle, last)) for before in range(max(middle, 1))])


def _pairs(layer: Array) -> Iterator[tuple[int, int]]:
    """The places of the last two computed steps, of all that are possible so far."""
    reached = np.argwhere(np.isfinite(layer).any(axis=0))
    yield from ((int(middle), int(last)) for middle, last in reached)


def _traced(layer: Array, choices: Sequence[Choice], segments: Segments) -> Nodes:
    """The whole plan whose error is least, with all steps skipped after its last computed one."""
    ends = [tuple(map(int, places)) for places in np.argwhere(np.isfinite(layer))[::-1]]  # of equal ones the latest
    errors = [layer[places] + segments.after(_nodes(*places))[segments.steps] for places in ends]
    plan = list(ends[int(np.argmin(errors))])
    for choice in reversed(choices[DEPTH - 1 :]):
        plan.insert(0, int(choice[plan[0], plan[1], plan[2]]))
    return _nodes(*plan)


def _nodes(*places: int | np.integer[Any]) -> Nodes:
    return tuple(int(place) - 1 for place in places if place != _NONE)
