"""A pure rule at work on one image after the other: its state, and the residuals to reuse."""

from __future__ import annotations

from typing import Any, Generic

from mflux_teacache.pieces.forecast import ResidualCache
from mflux_teacache.pieces.verdict import State, Verdict
from mflux_teacache.records import Body, Decision, Step


class PolicyRun(Generic[State]):
    """What a plugin whose rule is a pure function holds from ``mflux_attach`` on. Its hooks hand on to it::

        mflux_generation_start  run.reset()
        mflux_pre_transformer   return run.follow(decide(run.state, ...), step)
        mflux_post_transformer  run.keep(step, body)
        mflux_generation_end    run.reset()

    Args:
        first: the rule's state for a new image.
        cache: an empty one, such as ``forecast.from_options(options)``.
        threshold: what the rule holds its numbers against, for the records.

    Attributes:
        state: what the last verdict handed on.
        cache: residuals of the computed steps.
    """

    def __init__(self, first: State, cache: ResidualCache, threshold: float | None = None) -> None:
        self._first = first
        self.cache = cache
        self.threshold = threshold
        self.reset()

    def reset(self) -> None:
        """Forget the image before this one, or the one that has just ended."""
        self.state = self._first
        self.cache.clear()

    def follow(self, verdict: Verdict[State], step: Step) -> Decision:
        """Take over the verdict's state, and put what it says as a ``Decision``."""
        self.state = verdict.state
        return as_decision(verdict, self.cache, step, self.threshold)

    def keep(self, step: Step, body: Body) -> None:
        """Store what was computed, also after a skipped step: a branch may have had no fitting residual."""
        self.cache.store(step.sigma, body)


def as_decision(verdict: Verdict[Any], cache: ResidualCache, step: Step, threshold: float | None) -> Decision:
    """What a verdict says, with the residuals to reuse; empties the cache where the verdict says so.

    Args:
        threshold: what the rule held its numbers against, for the records.
    """
    if verdict.drop_cache:
        cache.clear()
    numbers = {
        "change": verdict.change,
        "prediction": verdict.prediction,
        "running_sum": verdict.running_sum,
        "threshold": threshold,
    }
    if verdict.kind == "reuse":
        return Decision.reuse(cache.residuals(step.sigma), verdict.reason, **numbers)
    return Decision.compute(verdict.reason, forced=verdict.kind == "force", **numbers)
