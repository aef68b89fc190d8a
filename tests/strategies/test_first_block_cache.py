"""First-block cache, with steps whose signals are scripted: change and residual of each can be worked out by eye."""

import math

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Plugin, level

from mflux_teacache import Limits
from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.options import as_json, from_keywords
from mflux_teacache.pieces.controller import Bounds, judge
from mflux_teacache.pieces.verdict import Progress
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Target
from mflux_teacache.strategies.first_block_cache import FirstBlockCache, decide

PLUGIN = Loaded("first-block-cache", FirstBlockCache)


def attached(**keywords):
    return Plugin("first-block-cache", FirstBlockCache, **keywords)


def run(plugin, values, **arguments):
    return plugin.run(len(values), signals=[level(value) for value in values], **arguments)


# --- the rule ----------------------------------------------------------------------------------------------------


def published(signals, threshold, warmup):
    """ParaAttention's rule: compare with the last computed step's residual, outside the warm-up."""
    kept, letters = None, ""
    for step, now in enumerate(signals):
        near = kept is not None and abs(now - kept) / abs(kept) < threshold
        if step >= warmup and threshold > 0 and near:
            letters += "S"
        else:
            letters, kept = letters + "C", now
    return letters


def ours(signals, threshold, limits):
    state, kept, letters = Progress(), None, ""
    bounds = Bounds(**limits.of(len(signals)), threshold=threshold)
    for step, now in enumerate(signals):
        change = None if kept is None else abs(now - kept) / abs(kept)
        verdict = judge(state, decide(change), step, bounds)
        state = verdict.state
        if verdict.kind == "reuse":
            letters += "S"
        else:
            letters, kept = letters + "C", now
    return letters


def in_the_middle(change, threshold):
    """One decision far from both windows."""
    return judge(Progress(cached=True), decide(change), 5, Bounds(total=10, threshold=threshold))


signals = st.lists(st.integers(1, 40).map(lambda i: i / 8), min_size=1, max_size=30)


@given(signals, st.integers(0, 8).map(lambda i: i / 8), st.integers(0, 5))
def test_decisions_are_the_published_rule_s(values, threshold, warmup):
    assert ours(values, threshold, Limits(skip_first=warmup)) == published(values, threshold, warmup)


@given(signals, st.integers(1, 8).map(lambda i: i / 8), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
def test_windows_and_cap_hold(values, threshold, first, last, cap):
    limits = Limits(skip_first=first, skip_last=last, max_skips=cap)
    letters = ours(values, threshold, limits)
    assert "S" not in letters[:first] + letters[len(letters) - last :] + letters[:1]
    assert "S" * (cap + 1) not in letters


@pytest.mark.parametrize(
    ("change", "threshold", "reuse"),
    [(0.0, 0.0, False), (0.0, 0.1, True), (0.1, 0.1, False), (0.09, 0.1, True), (math.nan, 9.0, False)],
)
def test_the_threshold(change, threshold, reuse):
    verdict = in_the_middle(change, threshold)
    assert (verdict.kind == "reuse") == reuse
    assert verdict.drop_cache == math.isnan(change)


@given(st.floats(allow_nan=True), st.floats(0, 10), st.floats(0, 10))
def test_more_threshold_reuses_at_least_as_readily(change, threshold, more):
    low, high = (in_the_middle(change, t).kind for t in (threshold, threshold + more))
    assert low != "reuse" or high == "reuse"


# --- the hooks ---------------------------------------------------------------------------------------------------


def test_block_0_runs_in_every_step():
    assert FirstBlockCache.about.residual_after == 1


def test_the_comparison_is_with_the_last_computed_step():
    # Against 1.0: 0.125, 0.25 (not under the threshold), then against 1.25: 0.2, 0.0.
    image = run(attached(thresh=0.25), (1.0, 1.125, 1.25, 1.5, 1.25))
    assert image.pattern == "CSCSS"
    assert [d.change for d in image.decisions] == [None, 0.125, 0.25, pytest.approx(0.2), 0.0]
    assert image.forced == "F----"
    assert {d.threshold for d in image.decisions} == {0.25}
    assert image.residuals == [[0], [0], [20], [20], [20]]


def test_a_slow_drift_is_noticed():
    """Each step moves by less than the threshold, their sum does not."""
    assert run(attached(thresh=0.25), [1.0 + 0.125 * i for i in range(6)]).pattern == "CSCSSC"


def test_each_branch_reuses_its_own_residual():
    assert run(attached(), [1.0] * 3, branches=2).residuals == [[0, 1]] * 3


def test_a_branch_that_had_to_compute_hands_on_its_new_residual():
    image = run(attached(), [1.0] * 3, branches=2, refusing={(1, 1)})
    assert image.residuals == [[0, 1], [0, 11], [0, 11]]


def test_a_change_that_is_not_a_number_computes_until_it_is_one_again():
    image = run(attached(forecast=2), (1.0, math.nan, 1.0, 1.0), sigmas=[0.9, 0.8, 0.7, 0.6])
    assert image.pattern == "CCCS"
    assert image.residuals[3] == [20]  # held: what came before the bad steps and from them is forgotten


def test_only_the_rows_of_the_image_being_made_count():
    second = mx.concatenate([level(1.25, rows=2), level(1.0, rows=2)], axis=1)
    image = attached().run(2, signals=[level(1.0), second], target_rows=2)
    assert image.decisions[1].change == 0.25


def test_windows_and_cap_come_from_the_options():
    plugin = attached(skip_first=2, skip_last=0.2, max_skips=3)
    image = run(plugin, [1.0] * 10)
    assert image.pattern == "CCSSSCSSCC"
    assert [image.reasons[step] for step in (1, 5, 8)] == ["first steps", "3 skips in a row", "last steps"]
    assert image.forced == "FF---F--FF"


def test_a_forecast_goes_on_in_sigma():
    image = run(attached(thresh=0.1, forecast=1), (1.0, 2.0, 2.0, 2.0), sigmas=[1.0, 0.8, 0.75, 0.7])
    assert image.pattern == "CCSS"
    assert [step[0] for step in image.residuals] == pytest.approx([0, 10, 12.5, 15])


def test_without_sigma_a_forecast_holds():
    assert run(attached(thresh=0.1, forecast=2), (1.0, 2.0, 2.0)).residuals == [[0], [10], [10]]


def test_threshold_0_never_skips():
    assert run(attached(thresh=0), [1.0] * 4).pattern == "CCCC"


def test_the_defaults_are_the_published_ones_with_a_cap():
    assert run(attached(), [1.0] * 12).pattern == "CSSSSSSSSCSS"


# --- options and refusals ----------------------------------------------------------------------------------------


def test_the_options():
    defaults = {
        "thresh": 0.08, "max_computed": None, "speedup": None, "skip_first": 1, "skip_last": 0, "max_skips": 8,
        "forecast": None,
        "reuse": "body", "cache_dtype": None, "force": False,
    }  # fmt: skip
    assert as_json(from_keywords(PLUGIN, {})) == defaults
    assert as_json(from_keywords(PLUGIN, {"thresh": 0.2})) == {**defaults, "thresh": 0.2}
    for value in (-0.1, "nan", "inf", "little"):
        with pytest.raises(OptionError, match=f"--first-block-cache-thresh: '{value}' is "):
            from_keywords(PLUGIN, {"thresh": value})


def test_a_run_of_one_step_is_refused():
    plugin = FirstBlockCache()
    options = from_keywords(PLUGIN, {})
    with pytest.raises(Refused, match="First-block cache .* of 1 .* at least 2 "):
        plugin.mflux_check(options, Target(pipeline="Flux1", active_steps=1))
    plugin.mflux_check(options, Target(pipeline="Flux1", active_steps=2))
    plugin.mflux_check(options, Target(pipeline="Flux1"))


def test_each_image_starts_afresh_and_leaves_nothing():
    plugin = attached(thresh=0.25)
    assert [run(plugin, [1.0] * 3).pattern for _ in range(2)] == ["CSS", "CSS"]
    assert plugin.instance.cache.empty
    assert plugin.instance._reference is None
