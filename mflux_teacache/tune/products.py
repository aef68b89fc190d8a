"""From a full run's outputs to their inner products, with guidance applied as the run applied it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def inner_products(
    outputs: Sequence[Sequence[Array]], latents: Sequence[Array], sigmas: Sequence[float] | None
) -> Array:
    """Of every two steps, ``(steps, steps)`` in float64.

    What mflux makes of the outputs of its guidance branches differs from pipeline to pipeline, but is close to a
    weighted sum of them, by which its scheduler moves the latents. So the weights are found from the latents: those
    with which the sums come closest to the moves. Where that is not possible, each branch counts alike.

    Args:
        outputs: per step, one output for each guidance branch.
        latents: that enter each step.
        sigmas: noise level of each step, if they are known.
    """
    stacked = [_as_branches(step, latents[0].size) for step in outputs]
    if sigmas is None or any(branches is None for branches in stacked):
        flat = [np.concatenate([output.ravel() for output in step]) for step in outputs]
        return _products(flat if len({each.size for each in flat}) == 1 else [step[0].ravel() for step in outputs])
    return _products(_guided([branches for branches in stacked if branches is not None], latents, sigmas))


def _as_branches(step: Sequence[Array], size: int) -> Array | None:
    """``(branches, size)``, also of a batch of branches; ``None`` where outputs are not like latents."""
    if any(output.size % size for output in step):
        return None
    return np.concatenate([output.reshape(-1, size) for output in step])


def _guided(stacked: Sequence[Array], latents: Sequence[Array], sigmas: Sequence[float]) -> list[Array]:
    """Guidance may end before the run does: steps with as many branches have weights of their own."""
    moving = [
        (step, (after.ravel() - before.ravel()) / (later - sigma))
        for step, (before, after), (sigma, later) in zip(stacked, pairwise(latents), pairwise(sigmas), strict=False)
        if later != sigma  # a step of no length says nothing of what moves the latents
    ]
    weights = {}
    for count in {len(step) for step in stacked}:
        weights[count] = _weights([(step, move) for step, move in moving if len(step) == count], count)
    return [weights[len(step)] @ step for step in stacked]


def _weights(alike: Sequence[tuple[Array, Array]], count: int) -> Array:
    """By least squares over all steps; all alike where that tells nothing, as with outputs that are not finite."""
    matrix = sum((_products(step) for step, _ in alike), np.zeros((count, count)))
    target = sum((step.astype(np.float64) @ move.astype(np.float64) for step, move in alike), np.zeros(count))
    if np.all(np.isfinite(matrix)) and np.all(np.isfinite(target)):
        found, *_ = np.linalg.lstsq(matrix, target, rcond=None)
        if np.any(found):
            return found
    return np.full(count, 1 / count)


def _products(rows: Sequence[Array] | Array) -> Array:
    # In float64: errors are small differences of these.
    stacked = np.stack([np.asarray(row, dtype=np.float64) for row in rows])
    return stacked @ stacked.T
