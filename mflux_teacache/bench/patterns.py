"""Which steps are skipped: one letter per step, C computed, S skipped. Pure."""

from __future__ import annotations

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.patterns import even, letters


def spread(steps: int, skipped: int) -> str:
    """A pattern that skips ``skipped`` of ``steps`` steps, evenly, with the first and (if it can be) the last computed.

    Raises:
        OptionError: no step to compute would be left, or a number below zero.
    """
    if not 0 <= skipped < steps:
        raise OptionError(
            f"--skip is {skipped}; it must be a whole number from 0 to {steps - 1}, one less than --steps: "
            f"the first step is always computed."
        )
    return letters(even(steps, steps - skipped), steps)


def checked(pattern: str, steps: int, option: str = "--pattern") -> str:
    """The pattern, if a run of ``steps`` steps can follow it.

    Args:
        option: that gave it, for messages.

    Raises:
        OptionError: less than two letters, another letter than C and S, another length, or an S at the first step.
    """
    if len(pattern) < 2:
        raise OptionError(f"{option} {pattern!r} is too short: a run has two steps at least, a letter for each.")
    if wrong := sorted(set(pattern) - set("CS")):
        raise OptionError(
            f"{option} {pattern} has the letter {wrong[0]!r}; each letter is a step, C computed or S skipped, "
            f"such as {spread(max(steps, 1), max(steps, 1) // 2)}."
        )
    if len(pattern) != steps:
        raise OptionError(
            f"{option} {pattern} has {len(pattern)} letters for {steps} steps; it takes one for each step. "
            f"Give --steps {len(pattern)}, or another pattern."
        )
    if pattern.startswith("S"):
        raise OptionError(f"{option} {pattern} skips the first step, which has nothing to reuse. It must begin with C.")
    return pattern
