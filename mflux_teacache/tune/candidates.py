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
from mflux_teacache.tune.optimum import plans
from mflux_teacache.tune.recorded import Recorded
from mflux_teacache.tune.segments import Nodes, Segments

PLANS = "schedule"
BUDGET = "max_computed"

_COMPUTED, _SKIPPED = LETTERS["computed"], LETTERS["skipped"]


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


def ranked(runs: Sequence[Recorded], budgets: Sequence[int]) -> list[Candidate]:
    """Of each budget the best plan, then the best strategy, then all others from the best on.

    So those that are checked differ in kind: the recorded runs flatter plans, which are fitted to them.

    Args:
        runs: of one schedule; one or more.
    """
    found = [*_plans(runs, budgets), *_strategies(runs, budgets)]
    return [
        candidate
        for _, of_budget in groupby(sorted(found, key=lambda each: (-each.budget, each.error)), lambda each: each.budget)
        for candidate in _kinds_first(list(of_budget))
    ]


def _kinds_first(by_error: Sequence[Candidate]) -> list[Candidate]:
    best = [next((each for each in by_error if (each.setting.plugin == PLANS) == plan), None) for plan in (True, False)]
    leading = [each for each in best if each is not None]
    return [*leading, *(each for each in by_error if each not in leading)]


def _plans(runs: Sequence[Recorded], budgets: Sequence[int]) -> list[Candidate]:
    found = []
    for order in ORDERS:
        segments = Segments(runs, order)
        for budget, nodes in plans(segments, budgets).items():
            setting = _reusing(PLANS, {"pattern": _letters(nodes, segments.steps)}, order)
            found.append(Candidate(setting=setting, budget=budget, error=segments.of(nodes)))
    return found


def _strategies(runs: Sequence[Recorded], budgets: Sequence[int]) -> list[Candidate]:
    """Each image is judged by the steps that a strategy chose in it."""
    found = []
    for order in ORDERS:
        each = [(run.patterns, Segments([run], order)) for run in runs]
        for setting, budget in ((setting, budget) for budget in budgets for setting in adaptive([budget])):
            patterns = [(patterns.get(str(setting)), segments) for patterns, segments in each]
            errors = [segments.of(_nodes(pattern)) for pattern, segments in patterns if pattern is not None]
            if len(errors) == len(runs):
                found.append(
                    Candidate(setting=_adaptive(setting.plugin, budget, order), budget=budget, error=fmean(errors))
                )
    return found


def _adaptive(name: str, budget: int, order: int) -> Setting:
    return _reusing(name, {BUDGET: budget}, order)


def _reusing(plugin: str, options: Mapping[str, str | int], order: int) -> Setting:
    """With outputs, which costs nothing in a skipped step and is what the recorded runs tell of."""
    return Setting(plugin, {**options, "reuse": "output", "forecast": order}, order)


def _letters(nodes: Nodes, steps: int) -> str:
    return "".join(_COMPUTED if step in nodes else _SKIPPED for step in range(steps))


def _nodes(pattern: str) -> Nodes:
    """A step that some branches computed counts as skipped, which is the worse of the two."""
    return tuple(step for step, letter in enumerate(pattern) if letter == _COMPUTED)
