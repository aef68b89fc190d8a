"""Which steps of a run are computed, as numbers and as letters. Pure."""

from __future__ import annotations

from collections.abc import Collection


def even(total: int, computed: int) -> tuple[int, ...]:
    """The first step, the last, and an even spread between them.

    Args:
        total: steps of the run.
        computed: how many are computed, from 1, which is the first, to ``total``.
    """
    last, gaps = total - 1, max(computed - 1, 1)
    return tuple((2 * last * place + gaps) // (2 * gaps) for place in range(computed))  # rounded, half up


def letters(computed: Collection[int], total: int) -> str:
    """A run of ``total`` steps with one letter for each: C computed, S skipped."""
    return "".join("C" if step in computed else "S" for step in range(total))
