"""Skip or compute: MagCache's rule as a pure function on floats. No mlx.

Method: Ma et al., "MagCache: Fast Video Generation with Magnitude-Aware Cache", arXiv 2506.09045,
https://github.com/Zehong-Ma/MagCache. Over a full run the magnitude of the residual changes from step to step by a
ratio that hardly depends on prompt and seed. The product of the ratios since the last computed step tells how far the
cached residual's magnitude is off; steps are skipped while the sum of these errors stays under a threshold.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What stays the same during one image.

    Attributes:
        ratios: one per step, the magnitude of its residual over that of the step before; the first is not used.
        always: steps that are computed whatever the sum.

    Raises:
        OptionError: a ratio is not allowed.
    """

    ratios: tuple[float, ...]
    always: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not all(math.isfinite(ratio) and ratio > 0 for ratio in self.ratios):
            raise OptionError(f"MagCache's ratios are {self.ratios}; they must be finite numbers above 0.")


def decide(skips: int, step: int, config: Config) -> Verdict:
    """The error that reusing adds in one step. Whether that is too much, the threshold or a budget decides.

    Args:
        skips: steps skipped since the last computed one.
        step: index of the step, from 0.
        config: ratios, and steps that are computed in any case.
    """
    error = None if step == 0 else _off(config.ratios[step - skips : step + 1])
    if step in config.always:
        return Verdict(kind="force", reason="a step that is always computed", prediction=error)
    return Verdict(kind="weigh", reason="error", prediction=error)


def _off(ratios: Sequence[float]) -> float:
    """How far the magnitude is from that of the residual which is these ratios older."""
    # Ratios of a user's own table may multiply to infinity, and a sum of errors must stay a number.
    return min(abs(1 - math.prod(ratios)), sys.float_info.max)


def stretch(ratios: Sequence[float], steps: int) -> tuple[float, ...]:
    """A table for another number of steps. As its authors do it, each step takes its nearest neighbour's ratio."""
    return tuple(ratios[place] for place in _nearest(len(ratios), steps))


def stretch_steps(always: Collection[int], length: int, steps: int) -> frozenset[int]:
    """Those of ``steps`` steps whose nearest neighbour in a run of ``length`` steps is one of ``always``."""
    computed = frozenset(always)
    return frozenset(step for step, place in enumerate(_nearest(length, steps)) if place in computed)


def active_part(always: Collection[int], steps: int, active: int) -> frozenset[int]:
    """Those steps of ``always`` that lie in the part which image-to-image runs, by their place in that part."""
    late = steps - active
    return frozenset(step - late for step in always if step >= late)


def _nearest(length: int, steps: int) -> list[int]:
    """For each of ``steps`` steps, the nearest of ``length`` steps; halves go to the even one."""
    if steps == 1:  # the formula would divide by 0, and a run of one step ends where the full run ends
        return [length - 1]
    return [round(step * ((length - 1) / (steps - 1))) for step in range(steps)]
