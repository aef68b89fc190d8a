"""Which steps to skip: what the options of ``schedule`` come to for a run of any length. No mlx."""

from __future__ import annotations

from dataclasses import dataclass

from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.pieces.budget import BUDGETS, computed_steps
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.patterns import letters
from mflux_teacache.strategies.schedule.budgeted import Computed, Plan, Run, budgeted
from mflux_teacache.strategies.schedule.lists import Lists

PLUGIN = "schedule"
WAYS = ("pattern", "every", "ratio", *BUDGETS)

# No cap on skips in a row: whoever names the steps has seen how many there are.
DEFAULTS = Limits(skip_first=1, skip_last=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One of the first five is given; or none of them, where ``named`` holds a single list.

    Attributes:
        pattern: one letter per step of the run, C computed and S skipped; the windows do not apply to it.
        every: compute the steps 0, k, 2k ...
        ratio: share of all steps that is skipped, spread evenly over those between the windows.
        max_computed: compute this many steps, by a plan; the windows do not apply to it.
        speedup: the same, as steps over computed steps.
        named: the lists that ``--schedule-plan`` names.
        own: those of the model, for a budget; ``None`` = it has none.
        limits: windows.

    Raises:
        OptionError: none of these or several, or ``named`` beside one that is no budget, or several lists and none.
    """

    pattern: str | None = None
    every: int | None = None
    ratio: float | None = None
    max_computed: int | None = None
    speedup: float | None = None
    named: Lists | None = None
    own: Lists | None = None
    limits: Limits = DEFAULTS

    def __post_init__(self) -> None:
        given = {way: value for way in WAYS if (value := getattr(self, way)) is not None}
        spelt = [f"{_option(way)} {value}" for way, value in given.items()]
        if self.named is not None and not given:
            _refuse_several(self.named)
        elif len(given) != 1:
            raise OptionError(
                f"The schedule takes exactly one of {', '.join(map(_option, WAYS))}; "
                f"it was given {' and '.join(spelt) or 'none'}. For example {_option('speedup')} 2."
            )
        elif self.named is not None and given.keys().isdisjoint(BUDGETS):
            raise OptionError(
                f"{spelt[0]} says itself which steps are computed, and {_option('plan')} {self.named.name} says so for "
                f"a budget. Leave one of them out (--no-{PLUGIN}-plan, if it is recorded), or use {_option('speedup')} "
                f"in place of the first."
            )

    @property
    def lists(self) -> Lists | None:
        """Those that the plan is made of, if there is one."""
        by_plan = self.named is not None or self.max_computed is not None or self.speedup is not None
        return (self.named or self.own) if by_plan else None

    def plan(self, run: Run) -> Plan:
        """What a run computes.

        Raises:
            Refused: the pattern has another length, or nothing of this run would be skipped, or more than is free, or
                less would be computed than the first step and the last.
        """
        total = run.active
        if self.pattern is not None:
            return Plan(_of_length(self.pattern, total))
        if self.every is not None:
            return Plan(_that_skips(self._regular(self.every, total), f"{_option('every')} {self.every}"))
        if self.ratio is not None:
            return Plan(_that_skips(self._spread(self.ratio, total), f"{_option('ratio')} {self.ratio:g}"))
        return budgeted(run, self._computed(total), self.lists)

    def _regular(self, every: int, total: int) -> str:
        free = self._free(total)
        return letters([step for step in range(total) if step % every == 0 or step not in free], total)

    def _spread(self, ratio: float, total: int) -> str:
        skips = round(ratio * total)
        free = self._free(total)
        if skips > len(free):
            lower = f"a ratio of at most {len(free) / total:.3g}, or " if free else ""
            raise Refused(
                f"--{PLUGIN}-ratio {ratio:g} asks to skip {skips} of {total} active steps, but the windows leave "
                f"{len(free) or 'none'} that may be skipped. Use {lower}"
                f"a lower --{PLUGIN}-skip-first or --{PLUGIN}-skip-last."
            )
        # The j-th free step is skipped where j * skips / free reaches the next whole number.
        skipped = {step for j, step in enumerate(free) if (j + 1) * skips // len(free) > j * skips // len(free)}
        return letters(set(range(total)) - skipped, total)

    def _free(self, total: int) -> range:
        """The steps between the windows."""
        limits = self.limits.of(total)
        return range(limits["skip_first"], total - limits["skip_last"])

    def _computed(self, total: int) -> Computed:
        if self.max_computed is not None:
            return Computed(self.max_computed, f"{_option('max_computed')} {self.max_computed}")
        if self.speedup is not None:
            return Computed(computed_steps(total, self.speedup), f"{_option('speedup')} {self.speedup:g}")
        assert self.named is not None, "one of these was given"
        [only] = self.named.lists
        # The same share as in its own run: the same number of fewer steps would hardly be a speed-up.
        return Computed(total * len(only.computed) // only.steps, f"{_option('plan')} {self.named.name}")


def _refuse_several(named: Lists) -> None:
    if len(named.lists) > 1:
        budgets = ", ".join(str(len(listed.computed)) for listed in named.lists)
        raise OptionError(
            f"{_option('plan')} {named.name} has lists of {budgets} computed steps. Say which with "
            f"{_option('max_computed')} or {_option('speedup')}, which also take numbers between these."
        )


def _of_length(pattern: str, total: int) -> str:
    if len(pattern) != total:
        raise Refused(
            f"--{PLUGIN}-pattern {pattern} has {len(pattern)} letters, but the run has {total} active "
            f"{'step' if total == 1 else 'steps'} (image-to-image runs fewer than --steps says). "
            f"Give one letter per step, or use --{PLUGIN}-every or --{PLUGIN}-ratio."
        )
    return pattern


def _that_skips(plan: str, option: str) -> str:
    if "S" not in plan:
        raise Refused(
            f"{option} leaves nothing to skip of {len(plan)} active {'step' if len(plan) == 1 else 'steps'} "
            f"(image-to-image runs fewer than --steps says). Use more steps, or ask for more skips."
        )
    return plan


def _option(keyword: str) -> str:
    return f"--{PLUGIN}-{keyword.replace('_', '-')}"
