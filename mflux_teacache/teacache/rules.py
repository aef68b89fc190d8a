"""How the steps of one image are judged: by a threshold that stays, or by what may be computed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import Step
from mflux_teacache.teacache import budget, policy
from mflux_teacache.teacache.budget import Budget, BudgetState
from mflux_teacache.teacache.policy import PolicyConfig, PolicyState


@dataclass(slots=True, eq=False)
class ByThreshold:
    """TeaCache's own rule."""

    policy: PolicyConfig
    state: PolicyState = field(default_factory=PolicyState)

    def judge(self, change: float | None, step: Step) -> Verdict[PolicyState]:
        """The step's verdict, whose state is kept for the next one."""
        verdict = policy.decide(self.state, change, step.index, step.active_steps, self.policy)
        self.state = verdict.state
        return verdict

    @property
    def threshold(self) -> float | None:
        """What the last step's running sum was held against."""
        return self.policy.threshold


@dataclass(slots=True, eq=False)
class ByBudget:
    """A threshold that follows the budget. Of the policy, the polynomial and its range are used."""

    policy: PolicyConfig
    budget: Budget
    state: BudgetState = field(default_factory=BudgetState)

    def judge(self, change: float | None, step: Step) -> Verdict[BudgetState]:
        """As in ``ByThreshold``."""
        verdict = budget.decide(self.state, self._predict(change), step.index, self.budget)
        self.state = verdict.state
        return replace(verdict, change=change)

    @property
    def threshold(self) -> float | None:
        """What the last step's running sum was held against; ``None`` where a rule decided."""
        return self.state.threshold

    def _predict(self, change: float | None) -> float | None:
        """A change above the calibrated range counts as its upper end: the budget weighs it against the others."""
        if change is None or not math.isfinite(change):
            return change
        return policy.predict(min(change, self.policy.upper), self.policy)
