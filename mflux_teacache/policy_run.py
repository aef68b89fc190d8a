"""One image of a strategy whose rule is a pure function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from mflux_teacache.forecast import ResidualCache
from mflux_teacache.records import Body, Decision, Step
from mflux_teacache.verdict import State, Verdict


@dataclass(slots=True, eq=False)
class PolicyRun(Generic[State]):
    """The rule's state and the residuals to reuse: what a plugin holds from ``mflux_generation_start`` to ``_end``.

    Attributes:
        state: what the last verdict handed on; at first, that of a new image.
        cache: residuals of the computed steps.
        threshold: what the rule holds its numbers against, for the records.
    """

    state: State
    cache: ResidualCache
    threshold: float | None = None

    def follow(self, verdict: Verdict[State], step: Step) -> Decision:
        """Take over the verdict's state, and put it as a ``Decision`` for ``mflux_pre_transformer``."""
        self.state = verdict.state
        if verdict.drop_cache:
            self.cache.clear()
        numbers = {
            "change": verdict.change,
            "prediction": verdict.prediction,
            "running_sum": verdict.running_sum,
            "threshold": self.threshold,
        }
        if verdict.kind == "reuse":
            return Decision.reuse(self.cache.residuals(step.sigma), verdict.reason, **numbers)
        return Decision.compute(verdict.reason, forced=verdict.kind == "force", **numbers)

    def keep(self, step: Step, body: Body) -> None:
        """Store what was computed; for ``mflux_post_transformer``.

        Also after a skipped step: a branch that had no fitting residual was computed and has a new one.
        """
        self.cache.store(step.sigma, body)
