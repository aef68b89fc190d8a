"""The rule of exact budgets, which every strategy shares; TeaCache was the first to have them."""

from mflux_teacache.pieces.budget import Budget, BudgetState, computed_steps, decide

__all__ = ["Budget", "BudgetState", "computed_steps", "decide"]
