"""How far off skipped steps are, worked out from full runs. Pure.

A segment is a run of skipped steps between two computed ones. What its steps reuse is settled by the computed steps
before it: the last one, and for a forecast the two before that. So the error of a plan is a sum over its segments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, TypeAlias

import numpy as np

from mflux_teacache.pieces.forecast import MAX_GAIN_OF_OUTPUTS, weights
from mflux_teacache.tune.recorded import Recorded

Array = np.ndarray[Any, np.dtype[np.float64]]
Nodes: TypeAlias = tuple[int, ...]  # computed steps, rising

_POWER = 4

# Of latents, in place of none at all.
_LEAST_IMAGE = 1e-3


class Segments:
    """The errors of segments, over some full runs of one schedule.

    The error of a segment is the sum over its steps of what is reused less the real output: what one step errs one way
    and the next one the other way is no error. Its length is taken to the fourth power, as in MeanCache (arXiv
    2601.19961), by which a single large error counts for more than many small ones. That of several images is their
    mean; each counts by its own size.

    In a step, the latents move by an error times the step's length in noise level. The image in them, whose share is 1
    less the noise level, moves by more, and the sampler goes on with that image. How far it does so differs from model
    to model, which ``growth`` says.

    Args:
        runs: of the same noise levels; one or more.
        order: of the forecast.
        growth: with 0, an error counts times the length of its step; with 1, also divided by the image's share of the
            latents that the step leaves.
    """

    def __init__(self, runs: Sequence[Recorded], order: int, growth: float = 0.0) -> None:
        self.steps = runs[0].steps
        self._order = order
        self._sigmas = runs[0].sigmas
        self._shares = self._grown(growth)
        self._products = np.stack([_scaled(run) for run in runs])
        self._weights: dict[Nodes, Array] = {}
        self._errors: dict[Nodes, Array] = {}
        self._offs: dict[Nodes, Array] = {}

    def growing(self, growth: float) -> Segments:
        """The same runs and forecasts, with errors that grow otherwise."""
        other = copy(self)
        other._shares, other._errors, other._offs = self._grown(growth), {}, {}
        return other

    def after(self, nodes: Nodes) -> Array:
        """The error of skipping from the last of these computed steps on, by the step that is computed next.

        At the number of steps it is that of skipping to the end.
        """
        used = nodes[-1 - self._order :]
        if used not in self._errors:
            self._errors[used] = np.concatenate([np.zeros(used[-1] + 1), self._powers(self._summed(used))])
        return self._errors[used]

    def of(self, nodes: Nodes) -> float:
        """The error of a plan, by segments: what ``after`` has of each of them."""
        return float(sum(self.after(seen)[end] for seen, end in self._ends(nodes)))

    def of_run(self, nodes: Nodes) -> float:
        """The error of a plan, by segments and over the whole run, where small errors that all go one way add up.

        The whole run alone would praise a plan by which large errors happen to cancel in these very images.
        """
        whole = np.sum([self._sums(seen)[end - seen[-1] - 1] for seen, end in self._ends(nodes)], axis=0)
        return self.of(nodes) + float(self._powers(whole[None])[0])

    def _ends(self, nodes: Nodes) -> Iterator[tuple[Nodes, int]]:
        """For each segment the computed steps before it, and where it ends."""
        yield from ((nodes[:place], end) for place, end in enumerate((*nodes[1:], self.steps), 1))

    def _sums(self, nodes: Nodes) -> Array:
        """The same as ``_summed``, and kept. For every three steps, as ``after`` asks for, that would be too much."""
        used = nodes[-1 - self._order :]
        if used not in self._offs:
            self._offs[used] = self._summed(used)
        return self._offs[used]

    def _summed(self, used: Nodes) -> Array:
        """By how much of each output a segment is off, for each number of steps that are skipped, from 0."""
        off = np.cumsum(self._shares[used[-1] + 1 :, None] * self._off(used), axis=0)
        return np.concatenate([np.zeros((1, self.steps)), off])

    def _powers(self, off: Array) -> Array:
        """Of each line of ``off`` the error, mean over runs."""
        squares = ((off @ self._products) * off).sum(axis=2)
        return np.asarray(np.mean(np.maximum(squares, 0) ** (_POWER / 2), axis=0))  # rounding may leave less

    def _off(self, used: Nodes) -> Array:
        """For each later step, by how much of each output what is reused differs from its own."""
        later = range(used[-1] + 1, self.steps)
        off = np.zeros((len(later), self.steps))
        off[:, used] = self._forecasts(used)
        off[range(len(later)), later] = -1
        return off

    def _forecasts(self, used: Nodes) -> Array:
        """For each later step, how much of each computed output is reused."""
        if used not in self._weights:
            found = np.zeros((self.steps - used[-1] - 1, len(used)))
            newest_first = list(map(self._level, used[::-1]))
            for row, step in zip(found, range(used[-1] + 1, self.steps), strict=True):
                shares = weights(self._level(step), newest_first, self._order, MAX_GAIN_OF_OUTPUTS)
                row[len(used) - len(shares) :] = shares[::-1]
            self._weights[used] = found
        return self._weights[used]

    def _level(self, step: int) -> float | None:
        return None if self._sigmas is None else self._sigmas[step]

    def _grown(self, growth: float) -> Array:
        """By what the error of each step is multiplied."""
        if self._sigmas is None:
            return np.ones(self.steps)
        levels = np.array([*self._sigmas, 0.0])
        moves = np.abs(np.diff(levels)) / np.maximum(1 - levels[1:], _LEAST_IMAGE) ** growth
        return np.asarray(moves / moves.mean() if moves.any() else np.ones(self.steps))


def _scaled(run: Recorded) -> Array:
    products = np.array(run.products)
    return np.asarray(products / np.trace(products))
