"""Exact budgets: a threshold that follows the number of steps that may be computed. Pure, no mlx.

A user who wants a given time, and not a given fidelity, says how many steps may be computed. Any strategy with a
running number can have that. What the number is held against is worked out anew in each step:

    threshold = (number + expected change of the steps left) / (computed steps left + 1)

The steps between the windows fall into runs, each ended by a computed step or by the last window; the threshold is
what the number may grow to in each run if it is to grow to the same in all, the steps left changing on average as the
last three did. When as many computed steps are left as steps, they are computed, and when none is left, the rest is
skipped: so the budget is spent to the last step, and never exceeded.

In most strategies the number is a sum, and what a step adds to it is the step's change. First-block cache's is the
distance from the last computed step, which is no sum; the changes of two steps add up to it where they go the same
way, and to less where they do not. So there a step's change is what the distance grew by, from 0, and the formula
shares out a distance: it is what each run may depart from the step that it reuses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import fmean

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.controller import RECENT, Bounds, Reading
from mflux_teacache.pieces.verdict import Progress, Verdict

# The options that ask for one, by their keywords, which are the fields of ``Allowance``.
BUDGETS = ("max_computed", "speedup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(Bounds):
    """What may be computed of one image, and which steps must.

    Attributes:
        computed: how many steps are computed, the windows included; ``total`` or more computes all.
        always: further steps that the strategy computes in any case.
        title, plugin: the strategy's name in sentences and in options, for messages.

    Raises:
        OptionError: the windows or the cap take more than ``computed``; says how many would do.
    """

    computed: int
    always: frozenset[int] = frozenset()
    title: str = "The strategy"
    plugin: str = "plugin"

    def __post_init__(self) -> None:
        least, option = self.least, f"--{self.plugin}"
        if self.computed < min(least, self.total):
            between = len(self._runs(0)) - 1
            raise OptionError(
                f"{self.title} cannot get by with {_steps(self.computed)} computed of {self.total}: it always computes "
                f"the first {self.first} and the last {self.skip_last}{f', and {between} between' if between else ''}, "
                f"and skips at most {self.max_skips} in a row, which takes {least}. Use {option}-max-computed {least} "
                f"or more, or a {option}-speedup of at most {math.floor(100 * self.total / least) / 100:g}; or lower "
                f"{option}-skip-first and {option}-skip-last, or raise {option}-max-skips."
            )

    @property
    def first(self) -> int:
        """Steps at the start that are computed: there is nothing to reuse in the very first."""
        return max(1, self.skip_first)

    @property
    def least(self) -> int:
        """The fewest computed steps that windows and cap allow."""
        if self.first + self.skip_last >= self.total:
            return self.total
        runs = self._runs(0)
        return self.first + self.skip_last + len(runs) - 1 + self._fewest(runs)

    def weigh(self, state: Progress, verdict: Verdict, reading: Reading, step: int) -> Verdict:
        """Spread what is left of the change evenly over the runs that are left, this one included."""
        this, *later = runs = self._runs(step)
        left = self._left(state, runs)
        # Without this, a still end of the run would leave computed steps over, which were paid for.
        if left >= sum(runs):
            return replace(verdict, kind="force", reason="the budget computes all that is left", running_sum=None)
        if left == 0:
            return replace(verdict, kind="reuse", reason="the budget is spent")
        steps, computed = sum(runs) + len(later), left + len(later)
        expected = fmean((*state.recent, reading.growth)[-RECENT:])
        share = (reading.number + expected * (steps - 1)) / (computed + 1)
        # Were it computed, the steps after it would have to be skipped in runs that the cap does not allow.
        too_early = this > (self.max_skips + 1) * (left - self._fewest(later))
        reuse = reading.number == 0 or reading.number < share or too_early
        reason = f"{verdict.reason} {'under' if reuse else 'reached'} the budget's share"
        return replace(verdict, kind="reuse" if reuse else "compute", reason=reason, threshold=share)

    def is_exceeded(self, state: Progress, step: int) -> bool:
        """Whether nothing is left for a step that is free to be skipped."""
        is_free = self.window(step) is None and step not in self.always
        return is_free and self._left(state, self._runs(step)) == 0

    def _runs(self, step: int) -> list[int]:
        """The steps from this one on that are free to be skipped, counted in runs between those of ``always``."""
        runs = [0]
        for each in range(max(step, self.first), self.total - self.skip_last):
            if each in self.always:
                runs.append(0)
            else:
                runs[-1] += 1
        return runs

    def _fewest(self, runs: Sequence[int]) -> int:
        """How many steps of such runs the cap computes: n of them leave n + 1 runs, each as long as it allows."""
        return sum(max(0, math.ceil((run - self.max_skips) / (self.max_skips + 1))) for run in runs)

    def _left(self, state: Progress, runs: Sequence[int]) -> int:
        """Computed steps that are left for those that are free."""
        return max(0, self.computed - state.computed - (len(runs) - 1) - self.skip_last)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the options allow to be computed of images of any length.

    Attributes:
        max_computed: this many steps of each image.
        speedup: the steps of an image over this. One of the two is given.
    """

    max_computed: int | None = None
    speedup: float | None = None

    def of(self, steps: int) -> int:
        """How many steps of an image may be computed."""
        if self.speedup is not None:
            return computed_steps(steps, self.speedup)
        return steps if self.max_computed is None else self.max_computed


def computed_steps(total: int, speedup: float) -> int:
    """How many computed steps of ``total`` make a run faster by this factor if skipping takes no time; rounded down.

    In exact decimals: 28 steps at 1.12 are 25, where binary fractions give 24.
    """
    return math.floor(total / Fraction(str(speedup)))


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"
