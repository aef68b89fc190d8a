"""The limits of every strategy, whatever its rule: windows at both ends, and a cap on skips in a row. No mlx.

Their options are declared and read here, together with those of an exact budget.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypedDict

from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.pieces import option_types
from mflux_teacache.pieces.budget import BUDGETS, Allowance

# The keywords of the options of ``add_options``. They are the fields of ``Limits``.
WINDOWS = ("skip_first", "skip_last")
CAP = "max_skips"

_LONGEST = 1000  # the longest run that anybody would make; the search for one that is long enough ends there


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Steps that are computed whatever a strategy's rule says.

    Attributes:
        skip_first: window at the start that is always computed: steps, or a fraction of the run between 0 and 1,
            rounded up. The very first step has nothing to reuse and is computed even with 0.
        skip_last: window at the end, likewise.
        max_skips: how many consecutive steps may be skipped; 0 never skips, ``None`` sets no cap.

    Raises:
        OptionError: a value is not allowed.
    """

    skip_first: float = 1
    skip_last: float = 0
    max_skips: int | None = None

    def __post_init__(self) -> None:
        for window in (self.skip_first, self.skip_last):
            _check_window(window)
        if self.max_skips is not None and self.max_skips < 0:
            raise OptionError(f"The cap on skips in a row is {self.max_skips}; it must be a whole number from 0.")

    def of(self, total: int, least_first: int = 1) -> Resolved:
        """The limits in steps of a run of ``total``, whose first ``least_first`` are computed whatever the window."""
        return Resolved(
            total=total,
            skip_first=max(least_first, _steps(self.skip_first, total)),
            skip_last=_steps(self.skip_last, total),
            max_skips=total if self.max_skips is None else self.max_skips,
        )


class Resolved(TypedDict):
    """Limits of one run, in steps."""

    total: int
    skip_first: int
    skip_last: int
    max_skips: int


def add_options(
    group: argparse._ArgumentGroup, plugin: str, defaults: Limits, own: Mapping[str, str] | None = None
) -> None:
    """Declare ``--<plugin>-skip-first``, ``-skip-last`` and, if ``defaults`` has a cap, ``-max-skips``.

    Args:
        own: for each keyword whose default depends on the model, that default in words; the option's is then ``None``.
    """
    own = own or {}

    def add(keyword: str, kind: Callable[[str], float], metavar: str, what: str) -> None:
        group.add_argument(
            f"--{plugin}-{keyword.replace('_', '-')}",
            type=kind,
            default=None if keyword in own else getattr(defaults, keyword),
            metavar=metavar,
            help=f"{what} (default: {own.get(keyword, '%(default)s')})",
        )

    first, last = WINDOWS
    window = option_types.window
    add(first, window, "STEPS", "always compute these first steps: a number, or a fraction of the run such as 0.2")
    add(last, window, "STEPS", "always compute these last steps, as above")
    if defaults.max_skips is not None:
        add(CAP, option_types.count, "N", "at most this many skipped steps in a row; 0 never skips")


def from_options(options: argparse.Namespace, defaults: Limits | None = None) -> Limits:
    """The limits that the options of ``add_options`` ask for.

    Args:
        defaults: the model's own limits, for options that are not given.
    """
    defaults = defaults or Limits()
    # A strategy without a cap declares no option for one.
    given = {name: getattr(options, name, None) for name in (*WINDOWS, CAP)}
    return replace(defaults, **{name: value for name, value in given.items() if value is not None})


def add_budget(group: argparse._ActionsContainer, plugin: str) -> None:
    """Declare ``--<plugin>-max-computed`` and ``--<plugin>-speedup`` on a group whose options exclude each other."""
    group.add_argument(
        f"--{plugin}-max-computed",
        type=option_types.count_from(1),
        metavar="N",
        help="in place of a threshold: compute this many steps of each image, where they are predicted to matter",
    )
    group.add_argument(
        f"--{plugin}-speedup",
        type=option_types.factor,
        metavar="FACTOR",
        help=f"the same as --{plugin}-max-computed with the number of steps divided by this, rounded down",
    )


def budget_from(options: argparse.Namespace) -> Allowance | None:
    """What the options of ``add_budget`` allow; ``None`` where neither is given or declared."""
    given = {name: getattr(options, name, None) for name in BUDGETS}
    return Allowance(**given) if any(value is not None for value in given.values()) else None


def refuse_short_run(name: str, plugin: str, limits: Limits, steps: int | None, *, least_first: int = 1) -> None:
    """Refuse windows that leave nothing to skip. A strategy calls it in ``mflux_check``.

    Args:
        name: the strategy's name in sentences, such as ``TeaCache``.
        plugin: its name in options, such as ``teacache``.
        limits: windows at both ends.
        steps: active steps of the run; ``None`` while they are not known.
        least_first: how many first steps the strategy computes whatever the window is.

    Raises:
        Refused: nothing is left to skip in a run of ``steps``, or in one of any length up to 1000.
    """
    first, last = limits.skip_first, limits.skip_last
    needed = shortest_run(first, last, least_first)
    windows = (
        f"{name} always computes the first {_spell_first(first, least_first)}"
        f"{f' and the last {_spell(last)}' if last else ''}"
    )
    if needed is None:
        raise Refused(
            f"{windows}, which leaves nothing to skip of a run of {_LONGEST} steps, or of any shorter one. "
            f"Lower --{plugin}-skip-first or --{plugin}-skip-last."
        )
    if steps is not None and not leaves_a_step(first, last, steps, least_first):
        raise Refused(
            f"{windows}, which leaves nothing to skip of {steps} active {'step' if steps == 1 else 'steps'}. "
            f"It takes at least {needed} (image-to-image runs fewer than --steps says), "
            f"or a lower --{plugin}-skip-first or --{plugin}-skip-last."
        )


def resolve_window(value: float, total: int) -> int:
    """How many of ``total`` steps a window covers; a fraction is rounded up.

    Raises:
        OptionError: the value is neither a number of steps nor a fraction.
    """
    _check_window(value)
    return _steps(value, total)


def leaves_a_step(skip_first: float, skip_last: float, total: int, least_first: int = 1) -> bool:
    """Whether the windows leave a step that can be skipped; the first ``least_first`` never can."""
    return max(least_first, resolve_window(skip_first, total)) + resolve_window(skip_last, total) < total


def shortest_run(skip_first: float, skip_last: float, least_first: int = 1) -> int | None:
    """The shortest run in which the windows leave a step to skip; ``None`` if it has more than 1000 steps."""
    lengths = range(2, _LONGEST + 1)
    return next((total for total in lengths if leaves_a_step(skip_first, skip_last, total, least_first)), None)


def _check_window(value: float) -> None:
    if not option_types.is_window(value):
        raise OptionError(
            f"The window is {value!r}; it must be a whole number of steps from 0, such as 3, "
            f"or a fraction of the run between 0 and 1, such as 0.2."
        )


def _steps(window: float, total: int) -> int:
    """The window in steps."""
    # In exact decimals, as the user wrote them: 0.07 of 100 steps is 7, but ``math.ceil(0.07 * 100)`` is 8.
    return window if isinstance(window, int) else math.ceil(Fraction(str(window)) * total)


def _spell_first(window: float, least: int) -> str:
    if isinstance(window, float):
        return _spell(window) if least == 1 else f"{_spell(window)} (at least {_spell(least)})"
    return _spell(max(window, least))


def _spell(window: float) -> str:
    if isinstance(window, float):
        return f"{window:g} of the run"
    return f"{window} step{'' if window == 1 else 's'}"
