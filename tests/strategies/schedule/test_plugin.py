"""The schedule: which steps each way of naming them comes to."""

import argparse
from itertools import groupby

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scripted import Plugin, generation

from mflux_teacache import Limits, Refused
from mflux_teacache.errors import OptionError
from mflux_teacache.options import as_json, from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Target
from mflux_teacache.strategies.schedule.budgeted import Run
from mflux_teacache.strategies.schedule.config import Config
from mflux_teacache.strategies.schedule.plugin import Schedule, pattern

PLUGIN = Loaded("schedule", Schedule)
NO_WINDOWS = Limits(skip_first=0, skip_last=0)


def check(steps=None, **keywords):
    Schedule().mflux_check(from_keywords(PLUGIN, keywords), Target(pipeline="Flux1", active_steps=steps))


@pytest.mark.parametrize(
    ("config", "total", "plan"),
    [
        (Config(pattern="CSSC"), 4, "CSSC"),
        (Config(pattern="CSSS", limits=Limits(skip_first=3, skip_last=3)), 4, "CSSS"),
        (Config(every=2, limits=NO_WINDOWS), 7, "CSCSCSC"),
        (Config(every=3, limits=NO_WINDOWS), 8, "CSSCSSCS"),
        (Config(every=3), 8, "CSSCSSCC"),
        (Config(every=3, limits=Limits(skip_first=2, skip_last=3)), 9, "CCSCSSCCC"),
        (Config(ratio=0.5), 10, "CCSCSSCSSC"),  # 5 of the 8 between the windows
        (Config(ratio=0.25), 12, "CCCCSCCSCCSC"),  # 3 of 10
        (Config(ratio=0.8), 10, "CSSSSSSSSC"),
    ],
)
def test_plans(config, total, plan):
    assert config.plan(Run(total, total)).letters == plan


@given(st.floats(0.01, 0.99), st.integers(2, 60), st.integers(0, 6), st.integers(0, 6))
def test_a_ratio_skips_its_share_spread_evenly_between_the_windows(ratio, total, first, last):
    free = total - max(1, first) - last
    skips = round(ratio * total)
    assume(0 < skips <= free)
    plan = Config(ratio=ratio, limits=Limits(skip_first=first, skip_last=last)).plan(Run(total, total)).letters
    assert plan.count("S") == skips
    assert "S" not in plan[: max(1, first)] + plan[total - last :]
    runs = [
        len(list(group)) for letter, group in groupby(plan[max(1, first) : total - last].rstrip("C")) if letter == "S"
    ]
    gaps = [len(list(group)) for letter, group in groupby(plan[max(1, first) : total - last]) if letter == "C"]
    assert max(runs) - min(runs) <= 1
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


@given(st.integers(2, 9), st.integers(2, 60))
def test_every_kth_step_is_computed(every, total):
    plan = Config(every=every, limits=NO_WINDOWS).plan(Run(total, total)).letters
    assert [step for step, letter in enumerate(plan) if letter == "C"] == list(range(0, total, every))


@pytest.mark.parametrize(
    ("ways", "given"),
    [
        ({}, "none"),
        ({"every": 2, "ratio": 0.5}, "--schedule-every 2 and --schedule-ratio 0.5"),
        ({"pattern": "CSC", "every": 2, "ratio": 0.5}, "--schedule-pattern CSC and --schedule-every 2 and"),
    ],
)
def test_exactly_one_way(ways, given):
    with pytest.raises(OptionError, match=f"exactly one of --schedule-pattern, .* it was given {given}"):
        Config(**ways)
    with pytest.raises(OptionError, match="exactly one of --schedule-pattern, | not allowed with argument --schedule-"):
        check(**ways)


@pytest.mark.parametrize(
    ("keywords", "steps", "message"),
    [
        ({"pattern": "CSC"}, 4, "CSC has 3 letters, but the run has 4 active steps"),
        ({"pattern": "CSCSC"}, 1, "CSCSC has 5 letters, but the run has 1 active step "),
        ({"every": 2}, 2, "--schedule-every 2 leaves nothing to skip of 2 active steps"),
        ({"ratio": 0.1}, 4, "--schedule-ratio 0.1 leaves nothing to skip of 4 active steps"),
        (
            {"ratio": 0.9, "skip_first": 3},
            20,
            "asks to skip 18 of 20 .* leave 16 .* a ratio of at most 0.8, or a lower",
        ),
        ({"ratio": 0.5, "skip_first": 9}, 6, r"leave none that may be skipped\. Use a lower --schedule-skip-first"),
    ],
)
def test_runs_that_do_not_fit_are_refused_once_their_steps_are_known(keywords, steps, message):
    check(**keywords)
    with pytest.raises(Refused, match=message):
        check(steps, **keywords)


def test_the_plan_is_followed():
    image = Plugin("schedule", Schedule, pattern="CCSSC", forecast=0).run(5, branches=2, refusing={(3, 0)})
    assert image.pattern == "CCSSC"
    assert image.residuals == [[0, 1], [10, 11], [10, 11], [30, 11], [40, 41]]
    assert set(image.reasons) == {"as scheduled"}


def test_a_forecast_goes_on_in_sigma():
    plugin = Plugin("schedule", Schedule, pattern="CCCS")
    # The parabola through 0, 10 and 40 at 1.0, 0.8 and 0.6 has its bound at 0.525.
    assert plugin.run(4, sigmas=[1.0, 0.8, 0.6, 0.55], computes=lambda step, branch: 10.0 * step**2).residuals[3] == (
        pytest.approx([50.625])
    )
    assert plugin.call("mflux_image_metadata", generation=generation(3)) == {
        "forecast": 2,
        "cache_dtype": None,
        "reuse": "output",
    }


def test_each_image_has_its_own_plan_and_leaves_nothing():
    plugin = Plugin("schedule", Schedule, every=2)
    assert [plugin.run(steps).pattern for steps in (4, 6)] == ["CSCC", "CSCSCC"]
    assert plugin.instance.cache.empty


def test_the_options():
    defaults = {
        "pattern": None,
        "every": None,
        "ratio": None,
        "speedup": None,
        "max_computed": None,
        "plan": None,
        "skip_first": 1,
        "skip_last": 1,
        "forecast": None,
        "reuse": "output",
        "cache_dtype": None,
        "force": False,
    }
    assert as_json(from_keywords(PLUGIN, {})) == defaults
    assert from_keywords(PLUGIN, {"pattern": "ccsc"}).pattern == "CCSC"
    for text in ("", "SCC", "CCC", "C", "CXS", "C S"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a pattern of C"):
            pattern(text)
    for keywords in ({"every": 1}, {"ratio": 0}, {"ratio": 1}, {"speedup": 0.5}, {"max_computed": 1}):
        with pytest.raises(OptionError, match="--schedule-"):
            from_keywords(PLUGIN, keywords)
