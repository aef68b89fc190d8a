"""The plugin ``schedule``: skip the steps that the user names, without looking at anything.

A pattern, every k-th step, a share of the steps spread evenly, or a budget, whose steps a plan names. mflux's own step
reuse (its models that take ``step_cache_ratio``) also picks steps by the schedule alone, but in one block where the
noise level changes least.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mflux_teacache.pieces import limits
from mflux_teacache.pieces.controller import Bounds, unlimited
from mflux_teacache.pieces.data_files import Chosen
from mflux_teacache.pieces.option_types import count_from, factor, fraction
from mflux_teacache.pieces.patterns import letters
from mflux_teacache.pieces.strategy import COMMON, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import Generation, Target
from mflux_teacache.step import Step
from mflux_teacache.strategies.schedule.budgeted import Plan, Run
from mflux_teacache.strategies.schedule.config import DEFAULTS, PLUGIN, WAYS, Config
from mflux_teacache.strategies.schedule.lists import FILES, Lists, of_model
from mflux_teacache.strategies.schedule.plans import LEAST


class Schedule(Strategy):
    """Skips the steps that its options name, or those that a plan of the model leaves out.

    Attributes:
        given: lists in place of the model's, from a strategy that has chosen them and hands over to this one.
    """

    name = PLUGIN
    title = "The schedule"
    about = replace(
        COMMON,
        description="Skips steps that its options or a plan name before the run begins, without looking at anything.",
        cap=None,
        simulated=False,  # it would show what the user has said
        reuses="output",  # the better one of a given pattern, by docs/strategies.md
        grid={"ratio": (0.3, 0.5, 0.6, 0.7), "forecast": (0, 2)},
    )
    defaults = DEFAULTS

    given: Lists | None = None

    _config: Config
    _plan: Plan = Plan("")

    def __init__(self) -> None:
        self._lists = Chosen(FILES)

    @classmethod
    def add_options(cls, group: argparse._ArgumentGroup) -> None:
        which = group.add_mutually_exclusive_group()
        which.add_argument(
            "--schedule-pattern",
            type=pattern,
            metavar="CCSCS...",
            help="one letter per step: C compute, S skip; the first is C, and the windows below do not apply",
        )
        which.add_argument(
            "--schedule-every",
            type=count_from(2),
            metavar="K",
            help="compute every K-th step and skip the others",
        )
        which.add_argument(
            "--schedule-ratio",
            type=fraction,
            metavar="FLOAT",
            help="skip this share of the steps, such as 0.5, spread evenly",
        )
        which.add_argument(
            "--schedule-speedup",
            type=factor,
            metavar="FACTOR",
            help="compute the number of steps divided by this, rounded down, by the plan of the model; a plan has its "
            "own places for computed steps, and the windows below do not apply to it",
        )
        which.add_argument(
            "--schedule-max-computed",
            type=count_from(LEAST),
            metavar="N",
            help="compute this many steps, likewise",
        )
        # Not among those: a file may hold several lists, of which a budget chooses.
        FILES.add_option(group)

    def names_steps(self, options: argparse.Namespace) -> bool:
        return options.pattern is not None

    def check(self, options: argparse.Namespace, target: Target) -> None:
        config = self._read(options, target)
        if target.active_steps is not None:
            config.plan(Run(target.active_steps, target.steps or target.active_steps))

    def attach(self, options: argparse.Namespace, target: Target) -> None:
        self._config = self._read(options, target)
        if (lists := self._config.lists) is not None and lists is not self.given:
            FILES.warn_if_made_elsewhere(lists, target)

    def start(self, generation: Generation) -> None:
        self._plan = self._config.plan(_run(generation))

    def spend(self, step: Step, computed: int) -> None:
        done = self._plan.letters[: step.index]
        left = min(max(1, computed - done.count("C")), step.active_steps - step.index)
        rest = self._rest(step, left, computed)
        self._plan = self._plan._replace(letters=done + rest)

    def _rest(self, step: Step, left: int, computed: int) -> str:
        """The steps from this one on, of which so many are computed, by the plan whose budget is nearest."""
        run, here = _run(step.generation), step.index
        # A plan that computes as many steps in all may have computed another number of them by now.
        for budget in sorted(range(LEAST, run.active), key=lambda budget: abs(budget - computed)):
            config = Config(max_computed=budget, named=self._config.named, own=self._config.own)
            rest = config.plan(run).letters[here:]
            if rest.count("C") == left:
                return rest
        return letters(range(run.active - left, run.active), run.active)[here:]

    def bounds(self, generation: Generation) -> Bounds:
        """None: the plan has the windows in it, if they apply."""
        return unlimited(generation.active_steps)

    def judge(self, step: Step) -> Verdict:
        skipped = self._plan.letters[step.index] == "S"
        return Verdict(kind="reuse" if skipped else "force", reason="as scheduled")

    def values(self, generation: Generation) -> Mapping[str, Any]:
        return self._plan.values

    def _read(self, options: argparse.Namespace, target: Target) -> Config:
        given = {way: getattr(options, way) for way in WAYS}
        return Config(
            **given,
            named=None if options.plan is None else self._lists.get(options.plan, target),
            own=self.given or of_model(target),
            limits=limits.from_options(options),
        )


def _run(generation: Generation) -> Run:
    return Run(generation.active_steps, generation.num_inference_steps, generation.sigmas)


def pattern(text: str) -> str:
    """The type of ``--schedule-pattern``: C and S, one of them at least S, and first a C."""
    plan = text.upper()
    if not plan.startswith("C") or set(plan) != {"C", "S"}:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a pattern of C (compute) and S (skip) that begins with C and skips, such as CCSCSC"
        )
    return plan
