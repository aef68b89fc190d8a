"""How far off skipped steps are, worked out from full runs. Pure.

A segment is a run of skipped steps between two computed ones. What its steps reuse is settled by the computed steps
before it: the last one, and for a forecast the two before that. So the error of a plan is a sum over its segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from mflux_teacache.pieces.forecast import MAX_GAIN_OF_OUTPUTS, weights
from mflux_teacache.tune.recorded import Recorded

Array = np.ndarray[Any, np.dtype[np.float64]]
Nodes: TypeAlias = tuple[int, ...]  # computed steps, rising

# A segment's error that counts double is more than twice as bad: what one long step has thrown off course is not made
# up for by many good ones.
POWER = 2


class Segments:
    """The errors of segments, over some full runs of one schedule.

    In a skipped step the latents move by the step's length in noise level times what is reused, in place of the real
    output. The error of a step is how far off that is, squared; that of a segment is the sum over its steps, and that
    of several images the mean of theirs. Each image counts by its own size.

    Args:
        runs: of the same noise levels; one or more.
        order: of the forecast.
    """

    def __init__(self, runs: Sequence[Recorded], order: int) -> None:
        self.steps = runs[0].steps
        self._order = order
        self._sigmas = runs[0].sigmas
        self._products = sum((_scaled(run) for run in runs), np.zeros((self.steps, self.steps))) / len(runs)
        self._known: dict[Nodes, Array] = {}

    def after(self, nodes: Nodes) -> Array:
        """The error of skipping from the last of these computed steps on, by the step that is computed next.

        At the number of steps it is that of skipping to the end.
        """
        used = nodes[-1 - self._order :]
        if used not in self._known:
            self._known[used] = self._errors(used)
        return self._known[used]

    def of(self, nodes: Nodes) -> float:
        """The error of a whole plan."""
        ends = (*nodes[1:], self.steps)
        return float(sum(self.after(nodes[:place])[end] for place, end in enumerate(ends, 1)))

    def _errors(self, used: Nodes) -> Array:
        off = self._lengths[used[-1] + 1 :, None] * self._off(used)
        errors = np.maximum(np.einsum("ks,st,kt->k", off, self._products, off), 0)
        return np.concatenate([np.zeros(used[-1] + 2), np.cumsum(errors)])

    def _off(self, used: Nodes) -> Array:
        """For each later step, by how much of each output what is reused differs from its own."""
        later = range(used[-1] + 1, self.steps)
        off = np.zeros((len(later), self.steps))
        for row, step in zip(off, later, strict=True):
            newest_first = used[::-1]
            shares = weights(self._level(step), list(map(self._level, newest_first)), self._order, MAX_GAIN_OF_OUTPUTS)
            row[list(newest_first[: len(shares)])] = shares
            row[step] -= 1
        return off
    
    def _level(self, step: int) -> float | None:
        return None if self._sigmas is None else self._sigmas[step]

    @property
    def _lengths(self) -> Array:
        if self._sigmas is None:
            return np.full(self.steps, 1 / self.steps)
        return np.abs(np.diff([*self._sigmas, 0.0]))


def _scaled(run: Recorded) -> Array:
    products = np.array(run.products)
    return products / np.trace(products)
