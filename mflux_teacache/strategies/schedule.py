"""The plugin ``schedule``: skip the steps that the user names, without looking at anything.

A pattern, every k-th step, or a share of the steps spread evenly. mflux's own step reuse (its models that take
``step_cache_ratio``) also picks steps by the schedule alone, but in one block where the noise level changes least.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.pieces import limits
from mflux_teacache.pieces.controller import Bounds, unlimited
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.option_types import count_from, fraction
from mflux_teacache.pieces.strategy import COMMON, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import Generation, Step, Target

PLUGIN = "schedule"
WAYS = ("pattern", "every", "ratio")

# No cap on skips in a row: whoever names the steps has seen how many there are.
DEFAULTS = Limits(skip_first=1, skip_last=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Which steps to skip, for a run of any length. Exactly one of the first three is given.

    Attributes:
        pattern: one letter per step of the run, C computed and S skipped; the windows do not apply to it.
        every: compute the steps 0, k, 2k ...
        ratio: share of all steps that is skipped, spread evenly over those between the windows.
        limits: windows.

    Raises:
        OptionError: none of the three, or several.
    """

    pattern: str | None = None
    every: int | None = None
    ratio: float | None = None
    limits: Limits = DEFAULTS

    def __post_init__(self) -> None:
        given = [f"--{PLUGIN}-{way} {value}" for way in WAYS if (value := getattr(self, way)) is not None]
        if len(given) != 1:
            raise OptionError(
                f"The schedule takes exactly one of {', '.join(f'--{PLUGIN}-{way}' for way in WAYS)}; "
                f"it was given {' and '.join(given) or 'none'}. For example --{PLUGIN}-every 2."
            )

    def plan(self, total: int) -> str:
        """One letter per step of a run of ``total`` steps: C computed, S skipped.

        Raises:
            Refused: the pattern has another length, or nothing of this run would be skipped, or more than is free.
        """
        if self.pattern is not None:
            return _of_length(self.pattern, total)
        if self.every is not None:
            free = self._free(total)
            letters = ["S" if step in free and step % self.every else "C" for step in range(total)]
            return _that_skips("".join(letters), f"--{PLUGIN}-every {self.every}")
        assert self.ratio is not None
        return _that_skips(self._spread(self.ratio, total), f"--{PLUGIN}-ratio {self.ratio:g}")

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
        return "".join("S" if step in skipped else "C" for step in range(total))

    def _free(self, total: int) -> range:
        """The steps between the windows."""
        limits = self.limits.of(total)
        return range(limits["skip_first"], total - limits["skip_last"])


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


class Schedule(Strategy):
    """Skips the steps that the options name."""

    name = PLUGIN
    title = "The schedule"
    about = replace(
        COMMON,
        description="Skips the steps that its options name, without looking at anything.",
        cap=None,
        simulated=False,  # it would show what the user has said
        grid={"ratio": (0.3, 0.5, 0.6, 0.7), "forecast": (0, 1)},
    )
    defaults = DEFAULTS

    _config: Config
    _plan: str

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

    def check(self, options: argparse.Namespace, target: Target) -> None:
        config = _config(options)
        if target.active_steps is not None:
            config.plan(target.active_steps)

    def attach(self, options: argparse.Namespace, target: Target) -> None:
        self._config = _config(options)

    def start(self, generation: Generation) -> None:
        self._plan = self._config.plan(generation.active_steps)

    def bounds(self, generation: Generation) -> Bounds:
        """None: the plan has the windows in it, if they apply."""
        return unlimited(generation.active_steps)

    def judge(self, step: Step) -> Verdict:
        skipped = self._plan[step.index] == "S"
        return Verdict(kind="reuse" if skipped else "force", reason="as scheduled")


def _config(options: argparse.Namespace) -> Config:
    return Config(
        pattern=options.pattern, every=options.every, ratio=options.ratio, limits=limits.from_options(options)
    )


def pattern(text: str) -> str:
    """The type of ``--schedule-pattern``: C and S, one of them at least S, and first a C."""
    letters = text.upper()
    if not letters.startswith("C") or set(letters) != {"C", "S"}:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a pattern of C (compute) and S (skip) that begins with C and skips, such as CCSCSC"
        )
    return letters
