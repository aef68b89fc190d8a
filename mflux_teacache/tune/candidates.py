"""Which settings are worth a real run: of each budget the best plan, and the best strategies, by the recorded runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from mflux_teacache.bench.runs import Setting
from mflux_teacache.pieces.forecast import ORDERS
from mflux_teacache.plugins import our_own
from mflux_teacache.records import LETTERS
from mflux_teacache.strategies.schedule.plans import letters
from mflux_teacache.tune.optimum import plans
from mflux_teacache.tune.recorded import Recorded
from mflux_teacache.tune.segments import Nodes, Segments

PLANS = "schedule"
BUDGET = "max_computed"

# Values of ``by_length`` that are tried. On the demo's model errors count alike whatever the length of their step.
LENGTHS = (0.0, 0.5, 1.0)

_COMPUTED = LETTERS["computed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A setting of one budget.

    Attributes:
        budget: how many steps it computes.
        error: what the recorded runs say of it: the smaller, the closer its images are to full runs.
    """

    setting: Setting
    budget: int
    error: float


def adaptive(budgets: Iterable[int]) -> list[Setting]:
    """The strategies that can be asked for so many steps, to be looked at along full runs."""
    names = [name for name, about in our_own() if about.kind == "strategy" and BUDGET in about.budgets]
    return [_adaptive(name, budget, 0) for budget in budgets for name in names]


def best_plan(runs: Sequence[Recorded], budget: int, by_length: float) -> Candidate:
    """The plan of the least error; arguments as for ``ranked``."""
    return min(_plans(runs, [budget], by_length), key=lambda each: each.error)


def ranked(runs: Sequence[Recorded], budgets: Sequence[int], by_length: float) -> list[Candidate]:
    """Of each budget the best plan, then the best strategy, then all others from the best on.

    So those that are checked differ in kind: the recorded runs flatter plans, which are fitted to them.

    Args:
        runs: of one schedule; one or more.
        by_length: as for ``Segments``.
    """
    found = sorted(
        [*_plans(runs, budgets, by_length), *_strategies(runs, budgets, by_length)],
        key=lambda each: (-each.budget, each.error),
    )
    by_budget = groupby(found, lambda each: each.budget)
    return [candidate for _, of_budget in by_budget for candidate in _kinds_first(list(of_budget))]


def _kinds_first(by_error: Sequence[Candidate]) -> list[Candidate]:
    best = [next((each for each in by_error if (each.setting.plugin == PLANS) == plan), None) for plan in (True, False)]
    leading = [each for each in best if each is not None]
    return [*leading, *(each for each in by_error if each not in leading)]


def _plans(runs: Sequence[Recorded], budgets: Sequence[int], by_length: float) -> list[Candidate]:
    found = []
    for order in ORDERS:
        segments = Segments(runs, order, by_length)
        for budget, nodes in plans(segments, budgets).items():
            setting = _reusing(PLANS, {"pattern": letters(nodes, segments.steps)}, order)
            found.append(Candidate(setting=setting, budget=budget, error=segments.of(nodes)))
    return found


def _strategies(runs: Sequence[Recorded], budgets: Sequence[int], by_length: float) -> list[Candidate]:
    """Each image is judged by the steps that a strategy chose in it."""
    found = []
    for order in ORDERS:
        by_run = [Segments([run], order, by_length) for run in runs]
        for budget, setting in ((each, setting) for each in budgets for setting in adaptive([each])):
            patterns = [run.patterns.get(str(setting)) for run in runs]
            errors = [
                segments.of(_nodes(pattern)) for segments, pattern in zip(by_run, patterns, strict=True) if pattern
            ]
            if len(errors) == len(runs):
                taken = _adaptive(setting.plugin, budget, order)
                found.append(Candidate(setting=taken, budget=budget, error=fmean(errors)))
    return found


def _adaptive(name: str, budget: int, order: int) -> Setting:
    return _reusing(name, {BUDGET: budget}, order)


def _reusing(plugin: str, options: Mapping[str, str | int], order: int) -> Setting:
    """With outputs, which costs nothing in a skipped step and is what the recorded runs tell of."""
    return Setting(plugin, {**options, "reuse": "output", "forecast": order}, order)


def _nodes(pattern: str) -> Nodes:
    """A step that some branches computed counts as skipped, which is the worse of the two."""
    return tuple(step for step, letter in enumerate(pattern) if letter == _COMPUTED)
