"""TaylorSeer: the interval against the published counter, and the forecast through the hooks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Plugin, generation

from mflux_teacache import Limits
from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.options import as_json, from_keywords
from mflux_teacache.pieces.controller import Bounds, judge
from mflux_teacache.pieces.verdict import Progress
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Target
from mflux_teacache.strategies.taylorseer import TaylorSeer, decide

PLUGIN = Loaded("taylorseer", TaylorSeer)


def attached(**keywords):
    return Plugin("taylorseer", TaylorSeer, **keywords)


def published(steps, interval, warmup):
    """A counter that a computed step sets to 0 and a forecast raises: compute when it is the interval less 1."""
    counter, letters = 0, ""
    for step in range(steps):
        if step < warmup or counter == interval - 1:
            letters, counter = letters + "C", 0
        else:
            letters, counter = letters + "S", counter + 1
    return letters


@given(st.integers(1, 60), st.integers(2, 9), st.integers(1, 6))
def test_decisions_are_the_published_counter_s(steps, interval, warmup):
    bounds = Bounds(**Limits(skip_first=warmup).of(steps))
    state, letters = Progress(), ""
    for step in range(steps):
        verdict = judge(state, decide(state.skips, interval), step, bounds)
        state, letters = verdict.state, letters + ("S" if verdict.kind == "reuse" else "C")
    assert letters == published(steps, interval, warmup)


def test_the_defaults():
    image = attached().run(20)
    assert image.pattern == "CCCSSSSCSSSSCSSSSCSC"
    assert image.forced == "FFF----------------F"
    assert image.reasons[7] == "every 5 steps"


def test_the_forecast_of_residuals_is_linear_in_sigma_and_for_each_branch():
    # Computed residuals 0, 10, 20, 60: from 10 and 20 on by 10 in 0.1, then from 20 and 60 by 40 in 0.2.
    sigmas = [1.0, 0.9, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4]
    image = attached(interval=4, skip_last=0, reuse="body").run(10, branches=2, sigmas=sigmas)
    assert image.pattern == "CCCSSSCSSS"
    first = [step[0] for step in image.residuals]
    # The bound: no farther ahead than 0.05 at first, and 0.1 later.
    assert first == pytest.approx([0, 10, 20, 25, 25, 25, 60, 70, 80, 80])
    assert [step[1] - step[0] for step in image.residuals] == pytest.approx([1] * 10)


def test_order_0_holds_and_without_sigma_every_order_does():
    sigmas = [1 - step / 10 for step in range(8)]
    assert attached(forecast=0).run(8, sigmas=sigmas).residuals[3:7] == [[20]] * 4
    assert attached(forecast=2).run(8).residuals[3:7] == [[20]] * 4


def test_a_branch_that_had_to_compute_has_its_own_history():
    image = attached(interval=3, skip_last=0, reuse="body").run(
        5, branches=2, refusing={(3, 1)}, sigmas=[1.0, 0.9, 0.8, 0.7, 0.65]
    )
    assert image.pattern == "CCCSS"
    assert image.residuals[4] == pytest.approx(
        [25, 36]
    )  # from 10 and 20 to the bound; from 21 and 31, half a spacing ahead


def test_each_image_starts_afresh_and_leaves_nothing():
    plugin = attached(skip_first=1)
    assert plugin.run(4).pattern == plugin.run(4).pattern == "CSSC"
    assert plugin.instance.cache.empty


def test_the_order_is_recorded():
    recorded = attached(forecast=2).call("mflux_image_metadata", generation=generation(9))
    assert recorded == {"forecast": 2, "cache_dtype": None, "reuse": "output"}


def test_the_options():
    assert as_json(from_keywords(PLUGIN, {})) == {
        "interval": 5,
        "skip_first": 3,
        "skip_last": 1,
        "forecast": None,
        "reuse": "output",
        "cache_dtype": None,
        "force": False,
    }
    with pytest.raises(OptionError, match="--taylorseer-interval: '1' is .* from 2"):
        from_keywords(PLUGIN, {"interval": 1})


def test_a_run_that_the_windows_cover_is_refused():
    with pytest.raises(Refused, match="TaylorSeer .* first 3 .* last 1 .* of 4 .* least 5 "):
        TaylorSeer().mflux_check(from_keywords(PLUGIN, {}), Target(pipeline="Flux1", active_steps=4))
    TaylorSeer().mflux_check(from_keywords(PLUGIN, {}), Target(pipeline="Flux1", active_steps=5))
