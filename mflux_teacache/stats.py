"""What happened under an attachment, over all of its images. No mlx, no mflux."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mflux_teacache.records import GenerationStats, speedup

KEPT_IMAGES = 1000  # in AttachmentStats.history: some megabytes, and more than one run of a command makes


@dataclass(slots=True, kw_only=True)
class AttachmentStats:
    """Everything that happened under one attachment, image by image.

    Counts are over all finished images; an interrupted or failed one is in ``history`` only.

    Attributes:
        history: the latest images, at most ``KEPT_IMAGES``, so that a server's memory does not grow.
    """

    history: list[GenerationStats] = field(default_factory=list)
    _earlier: Counter[str] = field(default_factory=Counter)  # counts of the finished images that history lacks
    _earlier_cost: float = 0.0

    def add(self, image: GenerationStats) -> None:
        """Take in an image when its loop has ended; the same object again changes nothing."""
        if any(image is known for known in self.history):
            return
        self.history.append(image)
        while len(self.history) > KEPT_IMAGES:
            oldest = self.history.pop(0)
            self._earlier += _counts(oldest)
            self._earlier_cost += _cost(oldest)

    @property
    def finished(self) -> list[GenerationStats]:
        """Those of ``history``."""
        return [image for image in self.history if image.status == "finished"]

    @property
    def generations(self) -> int:
        """Finished images."""
        return self._total("images")

    @property
    def last_generation(self) -> GenerationStats | None:
        """The latest entry of ``history``, finished or not."""
        return self.history[-1] if self.history else None

    @property
    def computed_count(self) -> int:
        return self._total("computed")

    @property
    def forced_count(self) -> int:
        return self._total("forced")

    @property
    def partial_count(self) -> int:
        return self._total("partial")

    @property
    def skipped_count(self) -> int:
        return self._total("skipped")

    @property
    def total_active_steps(self) -> int:
        return self._total("steps")

    @property
    def speedup_estimate(self) -> float:
        return speedup(self.total_active_steps, self._earlier_cost + sum(map(_cost, self.history)))

    def _total(self, what: str) -> int:
        return self._earlier[what] + sum(_counts(image)[what] for image in self.history)


def _counts(image: GenerationStats) -> Counter[str]:
    """Nothing, for one that is not finished."""
    if image.status != "finished":
        return Counter()
    outcomes = Counter[str](record.decision for record in image.decisions)
    return outcomes + Counter(images=1, steps=len(image.decisions))


def _cost(image: GenerationStats) -> float:
    """Nothing, for one that is not finished."""
    return image.cost if image.status == "finished" else 0.0
