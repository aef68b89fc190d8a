"""How much is computed: by a level, a speed-up, or the seconds that an image may take. Pure, no mlx."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from mflux_teacache.pieces.budget import computed_steps
from mflux_teacache.strategies.schedule.plans import LEAST

# Steps over computed steps. docs/choosing-a-setting.md says what is published of each.
LEVELS: Mapping[str, float] = {"quality": 1.5, "balanced": 2.0, "fast": 3.0}
DEFAULT_LEVEL = "balanced"

_REMEMBERED = 5  # steps of each kind: a machine that gets hot is followed


def of_level(level: str, active: int) -> int:
    """How many of an image's steps a level computes; at least one is skipped, if there are more than two."""
    return min(max(LEAST, computed_steps(active, LEVELS[level])), active - 1)


def _recent() -> deque[float]:
    return deque(maxlen=_REMEMBERED)


@dataclass(slots=True)
class Pace:
    """What steps have taken, of images of one size on one machine.

    Attributes:
        computed, skipped: seconds of the last steps of each kind.
    """

    computed: deque[float] = field(default_factory=_recent)
    skipped: deque[float] = field(default_factory=_recent)

    def note(self, seconds: float, cost: float, *, first: bool) -> None:
        """Take in a step that computed the share ``cost`` of its branches."""
        # The first step of an image also encodes the prompt in some pipelines, and waits for weights to be read.
        if first:
            return
        if cost == 1:
            self.computed.append(seconds)
        elif cost == 0:
            self.skipped.append(seconds)

    def affords(self, seconds: float, steps: int) -> int | None:
        """How many of so many steps can be computed in the time that is left; ``None`` while nothing is known."""
        if not self.computed:
            return None
        computed = median(self.computed)
        skipped = min(median(self.skipped), computed) if self.skipped else 0.0
        if computed == skipped:
            return steps
        return round(min(max(0.0, (seconds - steps * skipped) / (computed - skipped)), steps))
