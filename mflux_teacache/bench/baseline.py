"""What every setting is held against at its cost: the same sampler with fewer steps. Pure.

A strategy that skips half of 28 steps is worth its name only where it comes closer to the full run than 14 steps do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from mflux_teacache.bench.figures import Quality

BUDGETS = 6


def most_budgets(settings: int) -> int:
    """How many ``budgets`` there are at most for so many settings."""
    return min(BUDGETS, 2 * settings)


def budgets(qualities: Sequence[Quality]) -> list[int]:
    """Numbers of steps from 1 up, fewer than all, between which the computed steps of all settings lie.

    They are the whole numbers next to those computed steps, below and above, or ``BUDGETS`` of them: the smallest,
    the largest, and an even choice of the others.
    """
    near = {whole for entry in qualities for whole in _around(entry.computed) if 1 <= whole < entry.steps}
    ordered = sorted(near)
    if len(ordered) <= BUDGETS:
        return ordered
    return [ordered[round(place * (len(ordered) - 1) / (BUDGETS - 1))] for place in range(BUDGETS)]


def _around(computed: float) -> tuple[int, int]:
    return math.floor(computed), math.ceil(computed)


def no_better(qualities: Sequence[Quality]) -> dict[str, float]:
    """The settings whose mean PSNR is at or below that of fewer steps at the same cost, and that PSNR in dB.

    The PSNR of fewer steps is interpolated linearly at the setting's computed steps, and held beyond the ends.

    Args:
        qualities: of settings and of fewer steps; without the latter nothing can be said, and nothing is found.
    """
    baseline = sorted((entry for entry in qualities if entry.is_baseline), key=lambda entry: entry.computed)
    settings = [entry for entry in qualities if not entry.is_baseline and entry.psnr is not None] if baseline else []
    bars = {entry.setting: (_at(entry.computed, baseline), entry.height) for entry in settings}
    return {setting: bar for setting, (bar, reached) in bars.items() if reached <= bar}


def _at(computed: float, baseline: Sequence[Quality]) -> float:
    first, last = baseline[0], baseline[-1]
    if computed <= first.computed:
        return first.height
    for low, high in pairwise(baseline):
        if low.computed < computed < high.computed:
            share = (computed - low.computed) / (high.computed - low.computed)
            return (1 - share) * low.height + share * high.height
        if computed == high.computed:
            return high.height
    return last.height
