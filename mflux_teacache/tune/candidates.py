"""Which settings are worth a real run: of each budget the best plan, and the best strategies, by the recorded runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as counting
from statistics import fmean
from typing import TypeAlias

from mflux_teacache.bench.runs import Setting
from mflux_teacache.pieces.budget import BUDGETS
from mflux_teacache.pieces.cache import ORDER_OF_OUTPUTS
from mflux_teacache.pieces.forecast import ORDERS
from mflux_teacache.pieces.patterns import letters
from mflux_teacache.plugins import our_own
from mflux_teacache.records import LETTERS
from mflux_teacache.strategies.schedule.config import PLUGIN as SCHEDULE
from mflux_teacache.tune.optimum import plans
from mflux_teacache.tune.recorded import Recorded
from mflux_teacache.tune.segments import Nodes, Segments

BUDGET, _ = BUDGETS

_LEAST = 1e-24  # in place of no error at all, which has no logarithm

# How errors grow on their way to the image, by which plans are made. On the demo's model (28 steps, over 1,000 plans of
# which each was drawn as 32 images) 0.6 tells best how close a plan comes: its order has a rank correlation with PSNR
# of 0.86, 0.79 and 0.93 with 9, 11 and 14 computed steps, and 0.41 with 18, where plans hardly differ. Plans by 0.5
# came closest with 9 and 14 computed steps, and plans by 0.7 with 11 and 18.
_GROWTHS = (0.5, 0.7)
_GROWTH = 0.6  # what plans and strategies are compared by

# The recorded runs cannot tell forecasts apart well. One whose error is at most this many times the least is as good,
# and then the usual one is taken.
_ALIKE = 1.5

_COMPUTED = LETTERS["computed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A setting of one budget.

    Attributes:
        way: how its steps are found: a strategy's name, or what plans are made by.
        budget: how many steps it computes.
        error: what the recorded runs say of it: the smaller, the closer its images are to full runs.
    """

    setting: Setting
    way: str
    budget: int
    error: float


Kind: TypeAlias = list[Candidate]  # a way and a forecast, at each budget


def by_budget(budgets: Iterable[int]) -> list[Setting]:
    """What can be asked for so many steps, to be looked at along full runs: strategies, and what is usual.

    Usual are the steps of the plan that is published for the model, or of an even spread: those of the schedule, which
    ``auto`` takes where nothing is known better.
    """
    names = [name for name, about in our_own() if about.kind == "strategy" and BUDGET in about.budgets]
    return [_by_budget(name, budget, 0) for budget in budgets for name in (SCHEDULE, *names)]


def chosen(runs: Sequence[Recorded], budgets: Sequence[int], count: int) -> list[Candidate]:
    """Different settings, made in the same ways for each budget.

    Plans, what is usual, and strategies take turns, the best of each first, so that what is checked differs: the
    recorded runs flatter plans, which are fitted to them, and nothing should be taken that is worse than what is usual.

    Args:
        runs: of one schedule; one or more.
        count: of each budget.
    """
    ways: dict[str, list[Kind]] = {}
    for of_kind in _kinds((*_plans(runs, budgets), *_strategies(runs, budgets)), len(budgets)):
        ways.setdefault(of_kind[0].way, []).append(of_kind)
    by_error = sorted(map(_with_best_forecast, ways.values()), key=_error)
    taken = [each for of_kind in _in_turn(by_error)[:count] for each in of_kind]
    different = {_drawn(each, runs[0]): each for each in reversed(taken)}  # two ways may lead to the same plan
    return sorted(different.values(), key=lambda each: (-each.budget, each.error))


def _drawn(candidate: Candidate, run: Recorded) -> str:
    """Its setting, with the steps in place of the budget where they are known before a run begins."""
    if candidate.way != SCHEDULE:
        return str(candidate.setting)
    pattern = run.patterns[str(_by_budget(SCHEDULE, candidate.budget, 0))]
    return str(_reusing(SCHEDULE, {"pattern": pattern}, candidate.setting.forecast))


def _kinds(candidates: Iterable[Candidate], budgets: int) -> Iterator[Kind]:
    """Those that are there at every budget."""
    found: dict[tuple[str, int], Kind] = {}
    for candidate in candidates:
        found.setdefault((candidate.way, candidate.setting.forecast), []).append(candidate)
    yield from (of_kind for of_kind in found.values() if len(of_kind) == budgets)


def _error(kind: Kind) -> float:
    """Over all budgets, whose errors differ by orders of magnitude: the geometric mean."""
    return math.exp(fmean(math.log(each.error + _LEAST) for each in kind))


def _with_best_forecast(kinds: Sequence[Kind]) -> Kind:
    best = min(kinds, key=_error)
    usual = next((kind for kind in kinds if kind[0].setting.forecast == ORDER_OF_OUTPUTS), best)
    without_preset = best[0].way == SCHEDULE  # what is taken then is to be compared, good or bad
    return usual if without_preset or _error(usual) <= _ALIKE * _error(best) else best


def _in_turn(by_error: Sequence[Kind]) -> list[Kind]:
    """The best plan, what is usual and the best strategy, by their errors; then the second of each, and so on."""
    places: defaultdict[tuple[bool, bool], Iterator[int]] = defaultdict(counting)
    turns = [next(places[kind[0].setting.plugin == SCHEDULE, kind[0].way == SCHEDULE]) for kind in by_error]
    return [kind for _, kind in sorted(zip(turns, by_error, strict=True), key=lambda pair: pair[0])]


def _plans(runs: Sequence[Recorded], budgets: Sequence[int]) -> Iterator[Candidate]:
    for order in ORDERS:
        judging = Segments(runs, order, _GROWTH)
        for growth in _GROWTHS:
            for budget, nodes in plans(judging.growing(growth), budgets).items():
                setting = _reusing(SCHEDULE, {"pattern": letters(nodes, judging.steps)}, order)
                way = f"plans by growth {growth:g}"
                yield Candidate(setting=setting, way=way, budget=budget, error=judging.of_run(nodes))


def _strategies(runs: Sequence[Recorded], budgets: Sequence[int]) -> Iterator[Candidate]:
    """Each image is judged by the steps that a strategy chose in it."""
    for order in ORDERS:
        by_run = [Segments([run], order, _GROWTH) for run in runs]
        for budget, setting in ((each, setting) for each in budgets for setting in by_budget([each])):
            patterns = [run.patterns.get(str(setting)) for run in runs]
            errors = [judging.of_run(_nodes(steps)) for judging, steps in zip(by_run, patterns, strict=True) if steps]
            if len(errors) == len(runs):
                taken = _by_budget(setting.plugin, budget, order)
                yield Candidate(setting=taken, way=setting.plugin, budget=budget, error=fmean(errors))


def _by_budget(name: str, budget: int, order: int) -> Setting:
    return _reusing(name, {BUDGET: budget}, order)


def _reusing(plugin: str, options: Mapping[str, str | int], order: int) -> Setting:
    """With outputs, which costs nothing in a skipped step and is what the recorded runs tell of."""
    return Setting(plugin, {**options, "reuse": "output", "forecast": order}, order, "output")


def _nodes(pattern: str) -> Nodes:
    """A step that some branches computed counts as skipped, which is the worse of the two."""
    return tuple(step for step, letter in enumerate(pattern) if letter == _COMPUTED)
