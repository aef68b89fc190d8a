"""The line after each image, for everything that can have happened."""

from __future__ import annotations

import decimal
import itertools
import math
import sys

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache import About, hookimpl
from mflux_teacache.plugins import Loaded, PluginSet, load
from mflux_teacache.records import GenerationStats, StepRecord
from mflux_teacache.summary import Settings, next_threshold, summary, told_by


def record(decision="computed", reason="", score=None, threshold=None) -> StepRecord:
    return StepRecord(index=0, sigma=None, decision=decision, reason=reason, running_sum=score, threshold=threshold)


def line(*records, plugins=("teacache",), decider="teacache", option="--teacache-thresh", budget=None, **more) -> str:
    stats = GenerationStats(num_steps=len(records), decisions=records, status="finished", seconds=14.2345, seed=1)
    return summary(stats, plugins, decider, Settings(threshold_option=option, budget=budget, **more))


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
            (FORCED_FIRST, JUDGED, record(score=0.31, threshold=0.2), FORCED_LAST),
            NONE.format(4) + "smallest predicted change 0.26, threshold 0.2; try --teacache-thresh 0.3",
        ),
        (
            (FORCED_FIRST, FORCED_FIRST, FORCED_LAST),
            NONE.format(3) + "a rule computed every step (first steps, last steps)",
        ),
        ((record("forced"),), NONE.format(1) + "a rule computed every step"),
        ((record(), FORCED_LAST), NONE.format(2) + "the plugin asked for none"),
        ((record(score=0.1, threshold=0.2),), NONE.format(1) + "the plugin asked for none"),
        ((record(score=math.nan, threshold=0.2),), NONE.format(1) + "the plugin asked for none"),
        ((record(score=math.inf, threshold=0.2),), NONE.format(1) + "the plugin asked for none"),
        (
            (record(score=0.0, threshold=0.0),),
            NONE.format(1) + "smallest predicted change 0, threshold 0; try --teacache-thresh above 0",
        ),
        (
            (record(score=5e-324, threshold=0.0),),
            NONE.format(1) + "smallest predicted change 4.94e-324, threshold 0; try --teacache-thresh 9.88131e-324",
        ),
        ((record(score=1.7e308, threshold=0.2),), NONE.format(1) + "smallest predicted change 1.7e+308, threshold 0.2"),
        ((), NONE.format(0) + "no step called the transformer"),
    ],
    ids=itertools.count(),
)
def test_what_a_deciding_plugin_did(records, expected):
    assert line(*records) == expected


def test_a_plugin_without_a_threshold_option_gets_no_flag_to_try():
    assert line(JUDGED, option=None).endswith("smallest predicted change 0.26, threshold 0.2")


CAPPED = record("forced", "0 skips in a row", 0.12, 0.2)
NEVER = {"never": "--teacache-max-skips 0"}
LIMITS = {"limits": ["--teacache-skip-first", "--teacache-skip-last"]}


@pytest.mark.parametrize(
    ("records", "details", "expected"),
    [
        # What is under the threshold is only held up by the cap; what is not, by both.
        (
            (FORCED_FIRST, CAPPED, JUDGED),
            NEVER,
            "smallest predicted change 0.26, threshold 0.2; leave out --teacache-max-skips 0",
        ),
        (
            (FORCED_FIRST, JUDGED),
            NEVER,
            "smallest predicted change 0.26, threshold 0.2; leave out --teacache-max-skips 0, and try "
            "--teacache-thresh 0.3",
        ),
        (
            (FORCED_FIRST, CAPPED),
            NEVER,
            "a rule computed every step (first steps, 0 skips in a row); leave out --teacache-max-skips 0",
        ),
        (
            (FORCED_FIRST, FORCED_LAST),
            LIMITS,
            "a rule computed every step (first steps, last steps); lower --teacache-skip-first or --teacache-skip-last",
        ),
        (
            (FORCED_FIRST, record("forced", "change above the calibrated range"), FORCED_LAST),
            LIMITS,
            "a rule computed every step (first steps, change above the calibrated range, last steps)",
        ),
        (
            (FORCED_FIRST, record("forced", "the budget computes all that is left")),
            {"budget": "--teacache-max-computed 2"},
            "a rule computed every step (first steps, the budget computes all that is left); ask for fewer "
            "computed steps than --teacache-max-computed 2 gives",
        ),
        (
            (FORCED_FIRST, record("forced", "change or prediction not finite", math.nan)),
            {"budget": "--teacache-max-computed 2", **NEVER},
            "a rule computed every step (first steps, change or prediction not finite)",
        ),
        (
            (FORCED_FIRST, JUDGED),
            {"distilled": True},
            "smallest predicted change 0.26, threshold 0.2; the model is distilled to a few steps, which differ too "
            "much to be skipped",
        ),
    ],
)
def test_advice_takes_away_what_stood_in_the_way(records, details, expected):
    assert line(*records, **details) == NONE.format(len(records)) + expected


def test_a_replay_names_the_strategy_and_the_file():
    skipped = record("skipped", "as teacache did")
    assert line(record("computed", "as teacache did"), skipped, decider="replay", source="a\nb/run.json") == (
        "replay: computed 1 of 2 steps, skipped 1 (as teacache did in a\\nb/run.json, 14.2 s of denoising)"
    )


def test_a_budget_stands_in_place_of_the_threshold():
    stats = GenerationStats(num_steps=2, decisions=(FORCED_FIRST, SKIPPED), status="finished", seconds=14.2345, seed=1)
    assert summary(
        stats,
        ["teacache"],
        "teacache",
        Settings(threshold_option="--teacache-thresh", budget="--teacache-speedup 1.6"),
    ) == ("teacache: computed 1 of 2 steps, skipped 1 (--teacache-speedup 1.6, 14.2 s of denoising)")


def test_observers_are_named_and_said_to_observe():
    assert line(record(), plugins=("watch",), decider=None, option=None) == (
        "watch: computed 1 of 1 steps, skipped none (14.2 s of denoising): the plugin only observes"
    )
    assert line(record(), plugins=("watch", "look"), decider=None, option=None) == (
        "watch, look: computed 1 of 1 steps, skipped none (14.2 s of denoising): the plugins only observe"
    )


def test_beside_observers_the_decider_alone_is_named():
    assert line(record(), SKIPPED, plugins=("watch", "teacache")).startswith("teacache: computed 1 of 2 steps")


class Odd:
    """Of which nothing can be had."""

    def _fails(self, *_):
        raise ZeroDivisionError

    __str__ = __repr__ = __float__ = __format__ = __bool__ = __eq__ = __lt__ = __le__ = _fails
    __hash__ = None


ODD = ["0.3", b"0.3", 0.3j, np.array([0.1]), np.array([0.1, 0.2]), np.float32(0.3), True, 5e-324, -0.3, math.nan]
ODD += [
    math.inf,
    -math.inf,
    10**400,
    decimal.Decimal("0.3"),
    [],
    {},
    object(),
    Odd(),
    "\x1b[2J\n",
    0,
    None,
    mx.array(0.3),
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("field", ["reason", "change", "prediction", "running_sum", "threshold"])
@pytest.mark.parametrize("decision", ["computed", "forced", "skipped"])
def test_whatever_a_plugin_says_there_is_a_line(value, field, decision):
    normal = {"change": 0.3, "prediction": 0.3, "running_sum": 0.3, "threshold": 0.2, "reason": "why"}
    for said in ({**normal, field: value}, {"threshold": 0.1, field: value}, {field: value}):
        odd = StepRecord(index=0, sigma=None, decision=decision, **said)
        for records in ((odd,), (FORCED_FIRST, odd, SKIPPED), (odd, JUDGED)):
            told = line(*records, source="run.json" if decision == "skipped" else None)
            assert told.isprintable()
            assert told.startswith("teacache: computed ")
            assert len(told) < 400


@pytest.mark.parametrize("seconds", ["1", None, math.nan, 3j, Odd()], ids=lambda value: type(value).__name__)
def test_whatever_the_time_is_there_is_a_line(seconds):
    stats = GenerationStats(num_steps=1, decisions=(SKIPPED,), status="finished", seconds=seconds, seed=1)
    assert summary(stats, ["p"], "p", Settings()).endswith("(threshold 0.2, 0.0 s of denoising)")


def test_names_cannot_act_on_a_terminal():
    assert line(record(), plugins=("w\x1b[2J",), decider=None).startswith(r"w\x1b[2J: computed 1 of 1 steps")


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


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_as_it_is_printed_it_is_above_any_score(score):
    higher = next_threshold(score)
    if higher is None:
        assert score > sys.float_info.max / 2
    else:
        assert score < float(f"{higher:g}")


@pytest.mark.parametrize("score", [0.0, -0.1, math.inf, math.nan])
def test_there_is_none_to_try(score):
    assert next_threshold(score) is None


def test_a_run_without_plugins_only_tells_its_time():
    assert line(record(), record(), plugins=(), decider=None) == "compiled blocks: 2 steps (14.2 s of denoising)"


class Chooses:
    about = About(kind="tool", budgets=("level",), told="setting")

    @hookimpl
    def mflux_pre_transformer(self) -> None: ...


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"setting": "sea: a rule"}, "sea: a rule, "),
        ({"setting": "a\x1b[2J\nb"}, "a\\x1b[2J\\nb, "),
        ({"setting": "x" * 999}, "x" * 224 + "…" + "x" * 75 + ", "),
        ({"setting": 3}, "3, "),
        ({}, ""),
        (None, ""),
        ("setting", ""),
    ],
)
def test_what_a_plugin_tells_of_its_choice(values, told):
    settings = Settings.of(PluginSet([Loaded("p", Chooses)]), {"level": "fast"}, values)
    stats = GenerationStats(num_steps=2, decisions=(FORCED_FIRST, SKIPPED), status="finished", seconds=0, seed=1)
    said = summary(stats, ["p"], "p", settings)
    assert said == f"p: computed 1 of 2 steps, skipped 1 (--p-level fast, {told}0.0 s of denoising)"


def test_what_a_plugin_has_chosen_is_told_as_it_says_it() -> None:
    auto, teacache = load("auto"), load("teacache")
    assert auto.about.told is not None
    assert told_by(auto, {auto.about.told: "a plan\x1b"}) == "a plan\\x1b"
    assert told_by(auto, {}) is None
    assert told_by(auto, None) is None
    assert told_by(teacache, {"thresh": 0.2}) is None
