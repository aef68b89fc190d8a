"""The line after each image, for everything that can have happened."""

from __future__ import annotations

import itertools
import math

import pytest

from mflux_teacache.cli.summary import next_threshold, summary
from mflux_teacache.records import GenerationStats, StepRecord


def record(decision="computed", reason="", score=None, threshold=None) -> StepRecord:
    return StepRecord(index=0, sigma=None, decision=decision, reason=reason, running_sum=score, threshold=threshold)


def line(*records, plugins=("teacache",), decider="teacache", option="--teacache-thresh") -> str:
    stats = GenerationStats(num_steps=len(records), decisions=records, status="finished", seconds=14.2345, seed=1)
    return summary(stats, plugins, decider, option)


FORCED_FIRST = record("forced", "first steps", threshold=0.2)
FORCED_LAST = record("forced", "last steps", threshold=0.2)
JUDGED = record(score=0.26, threshold=0.2)
SKIPPED = record("skipped", score=0.1, threshold=0.2)
NONE = "teacache: computed {0} of {0} steps, skipped none (14.2 s of denoising): "


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        # 1 forced + 2 judged + 1 forced = 4 computed
        (
            (FORCED_FIRST, SKIPPED, JUDGED, SKIPPED, SKIPPED, JUDGED, FORCED_LAST),
            "teacache: computed 4 of 7 steps, skipped 3 (threshold 0.2, 14.2 s of denoising)",
        ),
        ((SKIPPED, record()), "teacache: computed 1 of 2 steps, skipped 1 (threshold 0.2, 14.2 s of denoising)"),
        ((record(), record("skipped")), "teacache: computed 1 of 2 steps, skipped 1 (14.2 s of denoising)"),
        (
            (record("forced", "8 skips in a row", 0.22, 0.2), JUDGED, record(score=0.31, threshold=0.2), FORCED_LAST),
            NONE.format(4) + "smallest predicted change 0.26, threshold 0.2; try --teacache-thresh 0.3 or more steps",
        ),
        (
            (FORCED_FIRST, FORCED_FIRST, FORCED_LAST),
            NONE.format(3) + "a rule computed every step (first steps, last steps); run more steps, or relax the rule",
        ),
        ((record("forced"),), NONE.format(1) + "a rule computed every step; run more steps, or relax the rule"),
        ((record(), FORCED_LAST), NONE.format(2) + "the plugin asked for none"),
        ((record(score=0.1, threshold=0.2),), NONE.format(1) + "the plugin asked for none"),
        ((record(score=math.nan, threshold=0.2),), NONE.format(1) + "the plugin asked for none"),
        ((record(score=math.inf, threshold=0.2),), NONE.format(1) + "the plugin asked for none"),
        (
            (record(score=0.0, threshold=0.0),),
            NONE.format(1) + "smallest predicted change 0, threshold 0; try a higher one or more steps",
        ),
        ((), NONE.format(0) + "no step called the transformer"),
    ],
    ids=itertools.count(),
)
def test_what_a_deciding_plugin_did(records, expected):
    assert line(*records) == expected


def test_a_plugin_without_a_threshold_option_gets_no_flag_to_try():
    assert line(JUDGED, option=None).endswith("threshold 0.2; try a higher one or more steps")


def test_a_budget_stands_in_place_of_the_threshold():
    stats = GenerationStats(num_steps=2, decisions=(FORCED_FIRST, SKIPPED), status="finished", seconds=14.2345, seed=1)
    assert summary(stats, ["teacache"], "teacache", "--teacache-thresh", "--teacache-speedup 1.6") == (
        "teacache: computed 1 of 2 steps, skipped 1 (--teacache-speedup 1.6, 14.2 s of denoising)"
    )


def test_observers_are_named_and_said_to_observe():
    assert line(record(), plugins=("watch",), decider=None, option=None) == (
        "watch: computed 1 of 1 steps, skipped none (14.2 s of denoising): the plugin only observes"
    )
    assert line(record(), plugins=("watch", "look"), decider=None, option=None) == (
        "watch, look: computed 1 of 1 steps, skipped none (14.2 s of denoising): the plugins only observe"
    )


def test_beside_observers_the_decider_alone_is_named():
    assert line(record(), SKIPPED, plugins=("watch", "teacache")).startswith("teacache: computed 1 of 2 steps")


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.26, 0.3),
        (0.3, 0.35),
        (0.24, 0.25),
        (0.25, 0.3),
        (0.012, 0.015),
        (0.0095, 0.01),
        (1.0, 1.5),
        (1.7, 2),
        (12, 15),
    ],
)
def test_the_threshold_to_try(score, expected):
    assert next_threshold(score) == pytest.approx(expected)


@pytest.mark.parametrize("score", [x / 997 for x in range(1, 2000, 7)])
def test_the_threshold_to_try_is_above_the_score_and_not_far(score):
    assert score < next_threshold(score) <= score * 1.5 + 1e-12


def test_a_run_without_plugins_only_tells_its_time():
    assert line(record(), record(), plugins=(), decider=None) == "compiled blocks: 2 steps (14.2 s of denoising)"
