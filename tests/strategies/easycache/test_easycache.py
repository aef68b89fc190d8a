"""EasyCache: the rule against the published one, and what the hooks measure."""

import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Plugin, generation, level

from mflux_teacache import Limits, Refused
from mflux_teacache.errors import OptionError
from mflux_teacache.options import as_json, from_keywords
from mflux_teacache.pieces.controller import Bounds, judge
from mflux_teacache.pieces.verdict import Progress
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Target
from mflux_teacache.strategies.easycache.plugin import EasyCache
from mflux_teacache.strategies.easycache.policy import THRESHOLD, Learned, decide, learn

PLUGIN = Loaded("easycache", EasyCache)
KNOWN = Learned(rate=2.0, size=4.0)
CACHED = Progress(cached=True)


def attached(**keywords):
    return Plugin("easycache", EasyCache, **keywords)


def published(inputs, outputs, threshold, warmup):
    """The authors' rule on numbers: mean absolute values are absolute values."""
    k = previous_input = previous_output = input_of_computed = None
    total, letters = 0.0, ""
    for step, (x, v) in enumerate(zip(inputs, outputs, strict=True)):
        compute = True
        if step < warmup or step >= len(inputs) - 1:
            total = 0.0
        elif k is not None:
            total += k * (abs(x - previous_input) / abs(previous_output))
            compute = not total < threshold
            total = 0.0 if compute else total
        previous_input = x
        if compute:
            if previous_output is not None:
                k = abs(v - previous_output) / abs(x - input_of_computed)
            input_of_computed, previous_output = x, v
        letters += "C" if compute else "S"
    return letters


def ours(inputs, outputs, threshold, limits):
    state, learned, letters, computed = Progress(), Learned(), "", None
    bounds = Bounds(**limits.of(len(inputs), EasyCache.least_first), threshold=threshold)
    for step, (x, v) in enumerate(zip(inputs, outputs, strict=True)):
        change = abs(x - inputs[step - 1]) if step else None
        verdict = judge(state, decide(learned, change), step, bounds)
        state = verdict.state
        learned = Learned() if verdict.drop_cache else learned
        if verdict.kind != "reuse":
            changes = () if computed is None else (abs(v - computed[1]), abs(x - computed[0]))
            learned, computed = learn(learned, abs(v), *changes), (x, v)
        letters += "S" if verdict.kind == "reuse" else "C"
    return letters


def in_the_middle(learned, change, threshold=THRESHOLD, state=CACHED):
    """One decision far from both windows."""
    return judge(state, decide(learned, change), 5, Bounds(total=10, threshold=threshold))


numbers = st.integers(1, 1000).map(lambda i: i / 64)


# --- the rule ----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30, unique_by=lambda pair: pair[0]),
    st.floats(0, 4),
    st.integers(1, 6),
)
def test_decisions_are_the_published_rule_s(pairs, threshold, warmup):
    """Inputs that all differ: the authors' code divides by their change."""
    inputs, outputs = zip(*pairs, strict=True)
    limits = Limits(skip_first=warmup, skip_last=1)
    assert ours(inputs, outputs, threshold, limits) == published(inputs, outputs, threshold, warmup)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30), st.floats(0, 4), st.integers(0, 4))
def test_the_cap_holds(pairs, threshold, cap):
    inputs, outputs = zip(*pairs, strict=True)
    letters = ours(inputs, outputs, threshold, Limits(max_skips=cap))
    assert letters.startswith("CC"[: len(letters)])
    assert "S" * (cap + 1) not in letters


def test_the_prediction_is_the_rate_times_the_change_as_a_share_of_the_output():
    verdict = in_the_middle(KNOWN, 0.5, 0.5)
    assert (verdict.kind, verdict.prediction, verdict.running_sum) == ("reuse", 0.25, 0.25)
    again = in_the_middle(KNOWN, 0.5, 0.5, verdict.state)
    assert (again.kind, again.running_sum, again.state.number) == ("compute", 0.5, 0.0)


def test_threshold_0_never_skips():
    assert in_the_middle(KNOWN, 0.0, 0.0).kind == "compute"


@pytest.mark.parametrize(
    ("learned", "change", "reason"),
    [
        (Learned(), 0.1, "rate not known yet"),
        (Learned(size=1.0), 0.1, "rate not known yet"),
        (KNOWN, None, "rate not known yet"),
    ],
)
def test_without_a_rate_a_step_is_computed(learned, change, reason):
    verdict = in_the_middle(learned, change)
    assert (verdict.kind, verdict.reason) == ("force", reason)


@pytest.mark.parametrize(
    ("learned", "change"),
    [(KNOWN, math.nan), (KNOWN, math.inf), (Learned(rate=math.inf, size=1.0), 0.1), (Learned(rate=1.0, size=0.0), 0.1)],
)
def test_what_is_not_finite_is_forgotten(learned, change):
    verdict = in_the_middle(learned, change)
    assert (verdict.kind, verdict.drop_cache, verdict.state.number) == ("compute", True, 0.0)


def test_a_still_input_leaves_no_rate_to_trust():
    assert learn(Learned(), 1.0, 0.5, 0.0).rate == math.inf
    assert learn(Learned(), 1.0, 0.5, 0.25) == Learned(size=1.0, rate=2.0)
    assert learn(KNOWN, 3.0) == Learned(size=3.0, rate=2.0)


# --- the hooks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_hooks_measure_what_the_rule_takes(seed):
    """Arrays whose mean absolute changes are those of the numbers: all entries move alike."""
    rng = np.random.default_rng(seed)
    inputs, outputs = (1 + np.cumsum(rng.uniform(0.01, 0.2, 24)) for _ in range(2))
    plugin = attached(thresh=0.3, skip_first=3, skip_last=1, max_skips=24)
    image = plugin.run(24, latents=[level(x) for x in inputs], outputs=[level(v, rows=2) for v in outputs])
    assert image.pattern == published(inputs, outputs, 0.3, 3)
    assert {"C", "S"} == set(image.pattern)


def test_the_first_branch_decides_and_each_reuses_its_own():
    still = [level(1.0 + step / 64) for step in range(6)]
    image = attached(thresh=9, skip_first=2).run(6, branches=2, latents=still, outputs=still, refusing={(3, 1)})
    assert image.pattern == "CCSSSC"
    assert image.residuals == [[0, 1], [10, 11], [10, 11], [10, 31], [10, 31], [50, 51]]


def test_only_the_rows_of_the_image_being_made_count():
    """With rows that never move, the output would look like it changes by half as much."""
    outputs = [mx.concatenate([level(2.0 + step, rows=2), level(2.0, rows=2)], axis=1) for step in range(4)]
    latents = [level(1.0 + step / 8) for step in range(4)]
    image = attached(thresh=9, skip_first=2).run(4, latents=latents, outputs=outputs, target_rows=2)
    # From 2 to 3 while the input moved by 1/8: rate 8, so 1/8 more is 1/3 of the output.
    assert image.decisions[2].prediction == pytest.approx(1 / 3)


def test_latents_of_another_shape_compute_until_a_rate_is_known_again():
    latents = [level(1.0 + step / 64, rows=4 if step < 4 else 6) for step in range(9)]
    image = attached(thresh=9, skip_first=2, skip_last=0).run(9, latents=latents, outputs=latents)
    assert image.pattern == "CCSSCCSSS"


def test_a_first_branch_that_was_reused_teaches_nothing():
    """Its output is what was predicted, not what the body makes of the input; the second branch had to compute."""
    latents = [level(1.0 + step / 8) for step in range(4)]
    outputs = [level(value) for value in (2.0, 3.0, 100.0, 5.0)]
    image = attached(thresh=9, skip_first=2, skip_last=0).run(
        4, branches=2, latents=latents, outputs=outputs, refusing={(2, 1)}
    )
    assert [decision.prediction for decision in image.decisions[2:]] == pytest.approx([1 / 3, 1 / 3])


def test_numbers_that_are_not_finite_compute_until_they_are_again():
    values = [1.0 + step / 64 for step in range(9)]
    values[4] = math.nan
    latents = [level(value) for value in values]
    plugin = attached(thresh=9, skip_first=2, skip_last=0, forecast=2)
    image = plugin.run(9, latents=latents, outputs=latents, sigmas=[1 - step / 10 for step in range(9)])
    assert image.pattern == "CCSSCCCSS"
    assert image.residuals[7] == [60]  # held: nothing of the steps before is left


def test_a_forecast_goes_on_in_sigma():
    latents = [level(1.0 + step / 64) for step in range(4)]
    image = attached(thresh=9, skip_first=2, forecast=1).run(
        4, latents=latents, outputs=latents, sigmas=[1.0, 0.8, 0.7, 0.6]
    )
    assert image.residuals[2] == pytest.approx([15])


def test_each_image_starts_afresh_and_leaves_nothing():
    plugin = attached(thresh=9, skip_first=2)
    latents = [level(1.0 + step / 64) for step in range(5)]
    for _ in range(2):
        assert plugin.run(5, latents=latents, outputs=latents).pattern == "CCSSC"
        instance = plugin.instance
        assert (instance._latents, instance._computed, instance._shown) == (None, None, ())
        assert instance.cache.empty


# --- options and refusals ----------------------------------------------------------------------------------------


def test_the_options_and_what_is_recorded():
    defaults = {
        "thresh": 0.2,
        "max_computed": None,
        "speedup": None,
        "skip_first": 0.15,
        "skip_last": 0.05,
        "max_skips": 8,
        "forecast": None,
        "reuse": "body",
        "cache_dtype": None,
        "force": False,
    }
    assert as_json(from_keywords(PLUGIN, {})) == defaults
    assert attached(forecast=1).call("mflux_image_metadata", generation=generation(9)) == {
        "forecast": 1,
        "reuse": "body",
        "cache_dtype": None,
    }
    with pytest.raises(OptionError, match="--easycache-thresh: '-1' is "):
        from_keywords(PLUGIN, {"thresh": -1})


def test_windows_that_leave_nothing_are_refused():
    with pytest.raises(Refused, match="EasyCache .* first 0.15 .*at least 2 .* last 0.05 "):
        EasyCache().mflux_check(from_keywords(PLUGIN, {}), Target(pipeline="Flux1", active_steps=2))
    EasyCache().mflux_check(from_keywords(PLUGIN, {}), Target(pipeline="Flux1", active_steps=4))


@pytest.mark.parametrize("first", [0, 1, 2])
def test_it_skips_in_the_shortest_run_that_it_does_not_refuse(first):
    windows = {"skip_first": first, "skip_last": 0}
    with pytest.raises(Refused, match="first 2 .* of 2 "):
        EasyCache().mflux_check(from_keywords(PLUGIN, windows), Target(pipeline="Flux1", active_steps=2))
    EasyCache().mflux_check(from_keywords(PLUGIN, windows), Target(pipeline="Flux1", active_steps=3))
    latents = [level(1.0 + step / 64) for step in range(3)]
    assert attached(thresh=9, **windows).run(3, latents=latents, outputs=latents).pattern == "CCS"
