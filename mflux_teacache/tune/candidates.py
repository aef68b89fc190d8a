"""Which settings are worth a real run: of each budget the best plan, and the best strategies, by the recorded runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

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

_LEAST = 1e-12  # in place of no error at all, which has no logarithm

# ``by_length`` of ``Segments``. On the demo's model, with 9 of 28 steps computed, plans that were found with 0.5 came
# closer to the full runs than those found with 0 or 1; and of all settings, the errors with 0 told best how close they
# came.
_TO_PLAN, _TO_JUDGE = 0.5, 0.0

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


Kind: TypeAlias = list[Candidate]  # a strategy or plans with a forecast, at each budget


def adaptive(budgets: Iterable[int]) -> list[Setting]:
    """The strategies that can be asked for so many steps, to be looked at along full runs."""
    names = [name for name, about in our_own() if about.kind == "strategy" and BUDGET in about.budgets]
    return [_adaptive(name, budget, 0) for budget in budgets for name in names]


def chosen(runs: Sequence[Recorded], budgets: Sequence[int], count: int) -> list[Candidate]:
    """The same kinds of settings for each budget, as different ones as there are.

    The recorded runs flatter plans, which are fitted to them, and cannot tell forecasts of different orders apart well.

    Args:
        runs: of one schedule; one or more.
        count: of each budget.
    """
    kinds: dict[str, Kind] = {}
    for candidate in (*_plans(runs, budgets), *_strategies(runs, budgets)):
        kinds.setdefault(candidate.setting.series, []).append(candidate)
    whole = [of_kind for of_kind in kinds.values() if len(of_kind) == len(budgets)]
    by_error = sorted(whole, key=lambda of_kind: fmean(math.log(each.error + _LEAST) for each in of_kind))
    taken = _varied(by_error)[:count]
    return sorted((each for of_kind in taken for each in of_kind), key=lambda each: (-each.budget, each.error))


def _varied(by_error: Sequence[Kind]) -> list[Kind]:
    """The best plans and the best strategy; then the best of each with another forecast; then the others."""
    groups = [[kind for kind in by_error if (kind[0].setting.plugin == PLANS) == plan] for plan in (True, False)]
    first = [group[0] for group in groups if group]
    second = [other for group in groups if group and (other := _unlike(group)) is not None]
    leading = [*sorted(first, key=by_error.index), *sorted(second, key=by_error.index)]
    return [*leading, *(kind for kind in by_error if kind not in leading)]


def _unlike(group: Sequence[Kind]) -> Kind | None:
    """The best with another forecast than the first one's, of another strategy if there is one."""
    first, *others = (kind[0].setting for kind in group)
    places = [place for place, other in enumerate(others, 1) if other.forecast != first.forecast]
    elsewhere = [place for place in places if group[place][0].setting.plugin != first.plugin]
    return next((group[place] for place in (*elsewhere, *places)), None)


def _plans(runs: Sequence[Recorded], budgets: Sequence[int]) -> list[Candidate]:
    found = []
    for order in ORDERS:
        judging = Segments(runs, order, _TO_JUDGE)
        for budget, nodes in plans(Segments(runs, order, _TO_PLAN), budgets).items():
            setting = _reusing(PLANS, {"pattern": letters(nodes, judging.steps)}, order)
            found.append(Candidate(setting=setting, budget=budget, error=judging.of_run(nodes)))
    return found


def _strategies(runs: Sequence[Recorded], budgets: Sequence[int]) -> list[Candidate]:
    """Each image is judged by the steps that a strategy chose in it."""
    found = []
    for order in ORDERS:
        by_run = [Segments([run], order, _TO_JUDGE) for run in runs]
        for budget, setting in ((each, setting) for each in budgets for setting in adaptive([each])):
            patterns = [run.patterns.get(str(setting)) for run in runs]
            errors = [judging.of_run(_nodes(steps)) for judging, steps in zip(by_run, patterns, strict=True) if steps]
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
