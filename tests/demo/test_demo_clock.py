"""What was computed of an image: the floor of its time."""

from __future__ import annotations

from mflux_teacache.demo.clock import computed
from mflux_teacache.records import StepRecord


def test_every_step_that_was_not_skipped_counts() -> None:
    steps = [
        StepRecord(index=index, sigma=None, decision=decision)
        for index, decision in enumerate(("forced", "skipped", "computed", "skipped"))
    ]
    assert computed(steps) == 2
    assert computed([]) == 0
