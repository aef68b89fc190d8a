"""The strategy that follows a pattern, on a tiny FLUX.2."""

from __future__ import annotations

from typing import Any

from bench_runs import ARGUMENTS

from mflux_teacache import attach
from mflux_teacache.bench.follow import FollowPattern


def test_a_pattern_is_followed_with_the_signal_read_in_every_step(model: Any) -> None:
    with attach(model, FollowPattern, pattern="CSSCS") as handle:
        model.generate_image(**ARGUMENTS)
        model.generate_image(**ARGUMENTS)
    for image in handle.stats.history:
        assert image.pattern == "CSSCS"
        assert image.decisions[0].change is None
        assert all(record.change is not None and record.change > 0 for record in image.decisions[1:])
