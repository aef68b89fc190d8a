"""A budget spent on predictions alone, without a model: to see how many steps it computes, and which."""

from __future__ import annotations

from mflux_teacache.pieces.budget import Budget, computed_steps
from mflux_teacache.pieces.controller import judge
from mflux_teacache.pieces.verdict import Progress as BudgetState
from mflux_teacache.pieces.verdict import Verdict

__all__ = ["Budget", "BudgetState", "computed_steps", "decide"]


def decide(state: BudgetState, prediction: float | None, step: int, budget: Budget) -> Verdict:
    """Compute or reuse in one step.

    Args:
        state: the previous verdict's ``state``; ``BudgetState()`` in the first step.
        prediction: predicted change of the output since the step before, from 0; ``None`` if there was none.
        step: index of the step, from 0.
        budget: total, computed, and limits.
    """
    return judge(state, Verdict(kind="weigh", reason="predicted change", prediction=prediction), step, budget)
