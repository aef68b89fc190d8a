"""What a strategy's rule says of one step, and how far an image has come. No logic, no mlx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["compute", "force", "reuse", "weigh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an image has come, as one step hands it to the next; the default is a new image.

    Attributes:
        computed: steps computed so far.
        skips: steps skipped since the last computed one.
        cached: there is something to reuse: a step was computed since the cache was last dropped, and kept.
        number: the running number, as the last step left it; 0 after a computed step.
        recent: what the number grew by in the last steps, the newest last.
    """

    computed: int = 0
    skips: int = 0
    cached: bool = False
    number: float = 0.0
    recent: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do in one step, and why. A rule says what it would do; windows, cap and budget are not its business.

    Attributes:
        kind: ``compute`` by the rule's judgement, ``force`` = compute because the rule cannot judge, ``reuse``; or
            ``weigh`` = whichever the running number says. ``prediction`` is added to that number, which begins anew at
            each computed step; where there is no prediction, ``change`` is the number as it is. It is held against the
            threshold, or against what a budget allows. Where neither is known, there is nothing to compare with.
        reason: a few words; of ``weigh``, what the number is, such as ``"predicted change"``.
        change, prediction, running_sum: as in ``Decision``, for people. The sum is made where a step is weighed.
        threshold: what they were held against, where that is not the strategy's own threshold.
        drop_cache: forget what is cached before this step, which is computed: it cannot be trusted.
        keep: store what this step computes, to be reused. ``False`` where that comes from numbers that went bad.
        state: how far the image is with this step. A rule leaves it as it is.
    """

    kind: Kind
    reason: str
    change: float | None = None
    prediction: float | None = None
    running_sum: float | None = None
    threshold: float | None = None
    drop_cache: bool = False
    keep: bool = True
    state: Progress = Progress()
