"""The result of a shadow run, as a table and as JSON. No mlx."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mflux_teacache.records import LETTERS, speedup
from mflux_teacache.text_tables import aligned

HEADING = (
    "shadow: every step was computed. What each strategy would have skipped of this run, and how far the body's output",
    "that it would have reused is from the computed one, in % (relative L1 of the first branch that reuses; a dot is a "
    "computed step).",
    "The path is the full run's: in a run that skips, each step starts from what the steps before it have left.",
)

TITLES = ("STRATEGY", "THRESHOLD", "COMPUTED", "AT BEST", "MEAN", "WORST")

# The path that every result is about, as its JSON has it.
PATH = "full run"


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy with one setting.

    Attributes:
        threshold: the last threshold that it stated; ``None`` if it stated none.
        errors: one per step, the relative L1 error of what it would have reused; ``None`` where it would have computed.
        partial: for each step in which only some guidance branches would have reused, by its index, the share of the
            branches that would have computed.
    """

    strategy: str
    threshold: float | None
    errors: tuple[float | None, ...]
    partial: Mapping[int, float] = field(default_factory=dict)

    @property
    def pattern(self) -> str:
        """One letter per step: C computed, S skipped, P partly reused."""
        return "".join(
            LETTERS["computed" if error is None else "partial" if step in self.partial else "skipped"]
            for step, error in enumerate(self.errors)
        )

    @property
    def reused(self) -> list[float]:
        """Errors of the steps that reuse."""
        return [error for error in self.errors if error is not None]

    @property
    def computed(self) -> float:
        """The number of computed steps. A partly reused step counts with the share of its computed branches."""
        return len(self.errors) - len(self.reused) + sum(self.partial.values())

    @property
    def speedup(self) -> float:
        """The largest speed-up that reuse in these steps can give."""
        return speedup(len(self.errors), self.computed)

    @property
    def mean(self) -> float | None:
        """The mean error of the steps that reuse; ``None`` if there are none."""
        return sum(self.reused) / len(self.reused) if self.reused else None

    @property
    def worst(self) -> float | None:
        """The largest error of the steps that reuse; ``None`` if there are none, NaN if one of them is not finite."""
        # ``max`` would pass over a NaN, depending on where it stands.
        if not all(map(math.isfinite, self.reused)):
            return math.nan
        return max(self.reused, default=None)


@dataclass(frozen=True, slots=True)
class Report:
    """One image.

    Attributes:
        rows: the strategies in order, each from its lowest threshold up.
        left_out: why a strategy is not among them, by its name.
        notes: the warnings of strategies.
    """

    rows: Sequence[Row]
    left_out: Mapping[str, str]
    notes: Sequence[str] = ()

    @property
    def steps(self) -> int:
        return max((len(row.errors) for row in self.rows), default=0)


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values. Errors are those of the steps that reuse, to four digits; ``None`` if not finite."""
    return {
        "path": PATH,
        "error": "relative L1 of the body's output, first branch that reuses",
        "runs": [
            {
                "strategy": row.strategy,
                "threshold": row.threshold,
                "pattern": row.pattern,
                "errors": [float(f"{error:.4g}") if math.isfinite(error) else None for error in row.reused],
                **({"partly": {str(step): share for step, share in row.partial.items()}} if row.partial else {}),
            }
            for row in report.rows
        ],
        "left_out": dict(report.left_out),
    }


def as_text(report: Report) -> str:
    """The report as several lines of text."""
    numbers = [str(step) for step in range(report.steps)]
    errors = [["." if error is None else _percent(error, 0) for error in row.errors] for row in report.rows]
    steps = aligned([numbers, *errors], left=0, gap=" ")
    lines = [list(TITLES), *(figures(row) for row in report.rows)]
    table = aligned([[*cells, each] for cells, each in zip(lines, steps, strict=True)]) if report.rows else []
    left_out = [f"{name} is left out: {reason}" for name, reason in report.left_out.items()]
    return "\n".join([*HEADING, "", *table, *([""] if left_out or report.notes else []), *left_out, *report.notes])


def figures(row: Row) -> list[str]:
    """The cells of a row, below ``TITLES``; errors in %."""
    return [
        row.strategy,
        "-" if row.threshold is None else f"{row.threshold:.3g}",
        f"{row.computed:.4g} of {len(row.errors)}",
        f"{row.speedup:.2f}x",
        _percent(row.mean, 1),
        _percent(row.worst, 1),
    ]


def _percent(error: float | None, digits: int) -> str:
    return "-" if error is None else f"{100 * error:.{digits}f}"
