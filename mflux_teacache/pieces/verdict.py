"""What the pure rule of a strategy says of one step. No mlx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

State = TypeVar("State")

Kind = Literal["compute", "force", "reuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Generic[State]):
    """What to do in one step, why, and the rule's state for the next.

    Attributes:
        kind: ``compute`` by the rule's judgement, ``force`` = compute because of a limit, or ``reuse``.
        reason: a few words.
        state: pass it to the rule in the next step.
        change, prediction, running_sum: as in ``Decision``, for people.
        threshold: what they were held against, where that is not the strategy's own threshold.
        drop_cache: forget what is cached before this step, which is computed: it cannot be trusted.
        keep: store what this step computes, to be reused. ``False`` where that comes from numbers that went bad.
    """

    kind: Kind
    reason: str
    state: State
    change: float | None = None
    prediction: float | None = None
    running_sum: float | None = None
    threshold: float | None = None
    drop_cache: bool = False
    keep: bool = True
