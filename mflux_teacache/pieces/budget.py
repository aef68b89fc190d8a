"""Exact budgets: a threshold that follows the number of steps that may be computed. Pure, no mlx.

A user who wants a given time rather than a given fidelity says how many steps may be computed. Any strategy with a
running number can offer this. The threshold for the number is worked out anew in each step:

    threshold = (number + expected change of the steps left) / (computed steps left + 1)

The steps between the windows fall into runs, each of which ends with a computed step or at the last window. The
threshold is the value to which the number may grow in each run if it is to reach the same value in all of them, and if
the remaining steps change, on average, as much as the last three did. When as many computed steps are left as steps,
all of them are computed; when none is left, the rest is skipped. So the budget is spent in full and never exceeded,
unless a number is not finite: its step is computed, and so is the next, which has nothing to reuse. They are taken off
what is left. Windows and cap are not, so where what is left does not do, the budget is exceeded and the steps say so.

In most strategies the number is a sum, to which each step adds its change. First-block cache's number is the distance
from the last computed step, which is no sum: the changes of two steps add up to it if they go the same way, and to less
if they do not. There a step's change is the growth of the distance, at least 0, and the formula shares out a distance:
how far each run may depart from the step that it reuses.
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

# The keywords of the options that ask for a budget. They are the fields of ``Allowance``.
BUDGETS = ("max_computed", "speedup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(Bounds):
    """How many steps of one image may be computed, and which steps must be.

    Attributes:
        computed: how many steps are computed, the windows included; ``total`` or more computes all.
        always: further steps that the strategy computes in any case.
        title, plugin: the strategy's name in sentences and in options, for messages.

    Raises:
        OptionError: the windows or the cap take more than ``computed``; the message says how many would do.
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
        """How many steps at the start are computed."""
        return max(1, self.skip_first)  # the first step has nothing to reuse

    @property
    def least(self) -> int:
        """The fewest computed steps that windows and cap allow."""
        if self.first + self.skip_last >= self.total:
            return self.total
        runs = self._runs(0)
        return self.first + self.skip_last + len(runs) - 1 + self._fewest(runs)

    def weigh(self, state: Progress, verdict: Verdict, reading: Reading, step: int) -> Verdict:
        """Spread the change that is left evenly over the runs that are left, this one included."""
        this, *later = runs = self._runs(step)
        left = self._left(state, runs)
        # Without this, a run whose last steps hardly change would not spend its budget.
        if left >= sum(runs):
            return replace(verdict, kind="force", reason="the budget computes all that is left", running_sum=None)
        if left == 0:
            return replace(verdict, kind="reuse", reason="the budget is spent")
        steps, computed = sum(runs) + len(later), left + len(later)
        expected = fmean((*state.recent, reading.growth)[-RECENT:])
        share = (reading.number + expected * (steps - 1)) / (computed + 1)
        # If this step were computed, those after it would have to be skipped in runs longer than the cap allows.
        too_early = this > (self.max_skips + 1) * (left - self._fewest(later))
        reuse = reading.number == 0 or reading.number < share or too_early
        reason = f"{verdict.reason} {'under' if reuse else 'reached'} the budget's share"
        return replace(verdict, kind="reuse" if reuse else "compute", reason=reason, threshold=share)

    def is_exceeded(self, state: Progress, step: int) -> bool:
        """Whether no computed step is left for a step that could be skipped."""
        is_free = self.window(step) is None and step not in self.always
        return is_free and self._left(state, self._runs(step)) == 0

    def _runs(self, step: int) -> list[int]:
        """The lengths of the runs of steps, from this one on, that could be skipped; ``always`` divides them."""
        runs = [0]
        for each in range(max(step, self.first), self.total - self.skip_last):
            if each in self.always:
                runs.append(0)
            else:
                runs[-1] += 1
        return runs

    def _fewest(self, runs: Sequence[int]) -> int:
        """How many steps of such runs must be computed because of the cap."""
        # n computed steps divide a run into n + 1 parts, none of which may be longer than the cap.
        return sum(max(0, math.ceil((run - self.max_skips) / (self.max_skips + 1))) for run in runs)

    def _left(self, state: Progress, runs: Sequence[int]) -> int:
        """How many computed steps are left for the steps that could be skipped."""
        return max(0, self.computed - state.computed - (len(runs) - 1) - self.skip_last)


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much the options allow to be computed, for images of any length. One of the two fields is given.

    Attributes:
        max_computed: the number of computed steps of each image.
        speedup: the number of an image's steps is divided by this.
    """

    max_computed: int | None = None
    speedup: float | None = None

    def of(self, steps: int) -> int:
        """How many steps of an image may be computed."""
        if self.speedup is not None:
            return computed_steps(steps, self.speedup)
        return steps if self.max_computed is None else self.max_computed


def computed_steps(total: int, speedup: float) -> int:
    """How many computed steps of ``total`` make a run faster by this factor if skipping takes no time; rounded down."""
    # In exact decimals: 28 steps at 1.12 are 25, where binary fractions give 24.
    return math.floor(total / Fraction(str(speedup)))


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"
