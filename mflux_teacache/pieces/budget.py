"""Exact budgets: a threshold that follows the number of steps that may be computed. Pure, no mlx.

A user who wants a given time, and not a given fidelity, says how many steps may be computed. Any strategy with a
running number can have that: what it adds in a step, here called prediction, is summed since the last computed step,
and what the sum is held against is worked out anew in each step:

    threshold = (running sum + expected change of the steps left) / (computed steps left + 1)

The steps between the windows fall into runs, each ended by a computed step or by the last window; the threshold is
what each run may add up to if all are to add up to the same, the steps left changing on average as the last three
did. When as many computed steps are left as steps, they are computed, and when none is left, the rest is skipped:
so the budget is spent to the last step, and never exceeded.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import fmean

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.limits import Limits, resolve_window
from mflux_teacache.pieces.option_types import count_from, factor
from mflux_teacache.pieces.verdict import Verdict

# The options of ``add_options``, by their keywords.
BUDGETS = ("max_computed", "speedup")

# Of 1, 2, 3, 5 and all steps seen, one or three came closest to the best split on the recorded traces (FLUX.1 Krea
# and the demo's model, 28 steps); after a single odd step one goes wrong.
RECENT = 3

# More than any change that a run could have; and whatever a run adds up of it stays finite.
_LARGEST = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be computed of one image, and which steps must.

    Attributes:
        total: steps of the run.
        computed: how many of them are computed, the windows included; ``total`` or more computes all.
        skip_first: steps at the start that are always computed; the very first is, even with 0.
        skip_last: steps at the end that are always computed.
        max_skips: consecutive steps that may be skipped. The budget leaves out whatever would break it.
        title, plugin: the strategy's name in sentences and in options, for messages.

    Raises:
        OptionError: the windows or the cap take more than ``computed``; says how many would do.
    """

    total: int
    computed: int
    skip_first: int = 1
    skip_last: int = 1
    max_skips: int = 8
    title: str = "The strategy"
    plugin: str = "plugin"

    def __post_init__(self) -> None:
        least, option = self.least, f"--{self.plugin}"
        if self.computed < min(least, self.total):
            raise OptionError(
                f"{self.title} cannot get by with {_steps(self.computed)} computed of {self.total}: it always computes "
                f"the first {self.first} and the last {self.skip_last}, and skips at most {self.max_skips} in a row, "
                f"which takes {least}. Use {option}-max-computed {least} or more, or a {option}-speedup of at most "
                f"{math.floor(100 * self.total / least) / 100:g}; or lower {option}-skip-first and {option}-skip-last, "
                f"or raise {option}-max-skips."
            )

    @property
    def first(self) -> int:
        """Steps at the start that are computed: there is nothing to reuse in the very first."""
        return max(1, self.skip_first)

    @property
    def least(self) -> int:
        """The fewest computed steps that windows and cap allow."""
        between = self.total - self.first - self.skip_last
        if between <= 0:
            return self.total
        # n computed steps leave n + 1 runs of skips, each as long as the cap allows.
        return self.first + self.skip_last + max(0, math.ceil((between - self.max_skips) / (self.max_skips + 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """What one step hands to the next; the default is a new image.

    Attributes:
        running_sum: predictions added up since the last computed step.
        skips: steps skipped since then.
        computed: steps computed so far.
        cached: a step was computed since the cache was last dropped, so there is something to reuse.
        recent: the last predictions, at most ``RECENT``.
    """

    running_sum: float = 0.0
    skips: int = 0
    computed: int = 0
    cached: bool = False
    recent: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the options allow to be computed of images of any length.

    Attributes:
        max_computed: this many steps of each image.
        speedup: the steps of an image over this. At most one of the two is given.
    """

    max_computed: int | None = None
    speedup: float | None = None

    def of(self, steps: int, limits: Limits, *, title: str, plugin: str) -> Budget | None:
        """The budget of an image, if any was asked for.

        Raises:
            OptionError: it is less than the limits take.
        """
        computed = self.max_computed if self.speedup is None else computed_steps(steps, self.speedup)
        if computed is None:
            return None
        return Budget(
            total=steps,
            computed=computed,
            skip_first=resolve_window(limits.skip_first, steps),
            skip_last=resolve_window(limits.skip_last, steps),
            max_skips=steps if limits.max_skips is None else limits.max_skips,
            title=title,
            plugin=plugin,
        )


def add_options(group: argparse._ActionsContainer, plugin: str) -> None:
    """Declare ``--<plugin>-max-computed`` and ``--<plugin>-speedup``; ``group`` has options that exclude each other."""
    group.add_argument(
        f"--{plugin}-max-computed",
        type=count_from(1),
        metavar="N",
        help="in place of a threshold: compute this many steps of each image, where they are predicted to matter",
    )
    group.add_argument(
        f"--{plugin}-speedup",
        type=factor,
        metavar="FACTOR",
        help=f"the same as --{plugin}-max-computed with the number of steps divided by this, rounded down",
    )


def from_options(options: argparse.Namespace) -> Allowance | None:
    """What the options of ``add_options`` allow; ``None`` where neither is given or declared."""
    given = {name: getattr(options, name, None) for name in BUDGETS}
    return Allowance(**given) if any(value is not None for value in given.values()) else None


def computed_steps(total: int, speedup: float) -> int:
    """How many computed steps of ``total`` make a run faster by this factor if skipping takes no time; rounded down.

    In exact decimals: 28 steps at 1.12 are 25, where binary fractions give 24.
    """
    return math.floor(total / Fraction(str(speedup)))


def decide(state: BudgetState, prediction: float | None, step: int, budget: Budget) -> Verdict[BudgetState]:
    """Compute or reuse in one step.

    A prediction that is not finite is computed and drops the cache, and so is the step after it, which has nothing
    to reuse. Both come out of the budget; where nothing is left of it, they are computed beyond it, and say so. What
    they take can be missing at the end, where the cap on skips in a row is held beyond the budget as well.

    Args:
        state: the previous verdict's ``state``; ``BudgetState()`` in the first step.
        prediction: predicted change of the output since the step before, from 0; ``None`` if there was none.
        step: index of the step, from 0.
        budget: total, computed, and rules.
    """
    left = _left(state, budget)
    if prediction is not None and not math.isfinite(prediction):
        reason = _spent("change or prediction not finite", left)
        return _compute(state, prediction, reason, forced=True, drop_cache=True)
    if prediction is not None:
        prediction = min(prediction, _LARGEST)
    # The windows come after that: a bad number has to drop the cache in them as well.
    if step < budget.first:
        return _compute(state, prediction, "first steps", forced=True)
    if step >= budget.total - budget.skip_last:
        return _compute(state, prediction, "last steps", forced=True)
    if prediction is None or not state.cached:
        return _compute(state, prediction, _spent("nothing to reuse", left), forced=True)
    return _between(state, prediction, budget.total - budget.skip_last - step, left, budget)


def _left(state: BudgetState, budget: Budget) -> int:
    """Computed steps that are left for the steps between the windows."""
    return max(0, budget.computed - budget.skip_last - state.computed)


def _between(state: BudgetState, prediction: float, steps: int, left: int, budget: Budget) -> Verdict[BudgetState]:
    """A step that neither a window nor a bad number decides.

    Args:
        steps: how many are left before the last window, this one included.
        left: how many of them may be computed.
    """
    # Without this, a still end of the run would leave computed steps over, which were paid for.
    if left >= steps:
        return _compute(state, prediction, "the budget computes all that is left", forced=True)
    if left == 0 and state.skips < budget.max_skips:
        return _reuse(state, prediction, "the budget is spent", None)
    # Spread what is left of the change evenly over the runs that are left, this one included.
    running_sum = state.running_sum + prediction
    expected = fmean(_remembered(state, prediction))
    threshold = (running_sum + expected * (steps - 1)) / (left + 1)
    if state.skips >= budget.max_skips:
        reason = _spent(f"{budget.max_skips} skips in a row", left)
        return _compute(state, prediction, reason, threshold, forced=True)
    # Were it computed, the steps after it would have to be skipped in runs that the cap does not allow.
    too_early = steps - left > budget.max_skips * left
    if running_sum == 0 or running_sum < threshold or too_early:
        return _reuse(state, prediction, "predicted change under the budget's share", threshold)
    return _compute(state, prediction, "predicted change reached the budget's share", threshold)


def _compute(
    state: BudgetState,
    prediction: float | None,
    reason: str,
    threshold: float | None = None,
    *,
    forced: bool = False,
    drop_cache: bool = False,
) -> Verdict[BudgetState]:
    recent = state.recent if drop_cache else _remembered(state, prediction)
    return Verdict(
        kind="force" if forced else "compute",
        reason=reason,
        state=BudgetState(computed=state.computed + 1, cached=not drop_cache, recent=recent),
        prediction=prediction,
        running_sum=None if threshold is None or prediction is None else state.running_sum + prediction,
        threshold=threshold,
        drop_cache=drop_cache,
        keep=not drop_cache,
    )


def _reuse(state: BudgetState, prediction: float, reason: str, threshold: float | None) -> Verdict[BudgetState]:
    running_sum, recent = state.running_sum + prediction, _remembered(state, prediction)
    after = replace(state, running_sum=running_sum, skips=state.skips + 1, recent=recent)
    return Verdict(
        kind="reuse",
        reason=reason,
        state=after,
        prediction=prediction,
        running_sum=running_sum,
        threshold=threshold,
    )


def _remembered(state: BudgetState, prediction: float | None) -> tuple[float, ...]:
    return state.recent if prediction is None else (*state.recent, prediction)[-RECENT:]


def _spent(reason: str, left: int) -> str:
    return reason if left else f"{reason}: computed beyond the budget"


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"
