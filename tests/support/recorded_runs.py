"""Full runs that a test writes down: the outputs of their steps, and from them what tuning knows of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mflux_teacache.records import Target
from mflux_teacache.tune.recorded import Recorded

Array = np.ndarray[Any, np.dtype[Any]]


def recorded(
    outputs: Array, sigmas: Sequence[float] | None = None, patterns: Mapping[str, str] | None = None
) -> Recorded:
    """Args:
    outputs: ``(steps, size)``, with guidance applied.
    sigmas: falling evenly where they are not given.
    """
    steps = len(outputs)
    levels = tuple(1 - step / steps for step in range(steps)) if sigmas is None else tuple(sigmas)
    return Recorded(
        target=Target(pipeline="Dreams", model="somebody/dreams"),
        sigmas=levels,
        products=tuple(map(tuple, (outputs @ outputs.T).tolist())),
        changes=(),
        patterns=patterns or {},
        left_out={},
        seconds=float(steps),
    )


def walk(steps: int, seed: int, size: int = 12) -> Array:
    """Outputs that wander."""
    return np.cumsum(np.random.default_rng(seed).normal(size=(steps, size)), axis=0)


def early(steps: int, seed: int, size: int = 40) -> Array:
    """Outputs that jump in the first third of the steps, each time elsewhere, and are the same from then on."""
    jumps = np.random.default_rng(seed).normal(size=(steps // 3, size))
    return np.stack([jumps[min(step, len(jumps) - 1)] for step in range(steps)])
