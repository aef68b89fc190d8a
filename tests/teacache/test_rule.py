import itertools
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.controller import Bounds, judge
from mflux_teacache.pieces.limits import Limits, leaves_a_step
from mflux_teacache.pieces.verdict import Progress
from mflux_teacache.teacache import plugin
from mflux_teacache.teacache.calibration import load
from mflux_teacache.teacache.plugin import DEFAULTS, Curve, evaluate, predict

TRACE = json.loads((Path(__file__).parents[1] / "data" / "trace-krea.json").read_text())

# The identity: what is predicted is the change itself, so sums can be done by eye.
IDENTITY = (1.0, 0.0)


@dataclass(frozen=True)
class Config:
    """What predicts, and what the image is held to."""

    threshold: float
    curve: Curve
    limits: Limits = DEFAULTS


def config(threshold=1.0, **changes):
    bounds = {name: changes.pop(name) for name in ("skip_first", "skip_last", "max_skips") if name in changes}
    return Config(threshold, Curve(**{"polynomial": IDENTITY, **changes}), replace(DEFAULTS, **bounds))


def decide(state, change, step, total, settings):
    """The rule within what the image is held to."""
    bounds = Bounds(**settings.limits.of(total), threshold=settings.threshold)
    return judge(state, plugin.decide(change, settings.curve), step, bounds)


def carried(decision):
    """Of what one step hands to the next, what the rule's decisions hang on."""
    return decision.state.number, decision.state.skips, decision.state.cached


def replay(changes, settings):
    """The pattern that a trace of changes gives, one per step after the first: C computed, S skipped."""
    return pattern(run(changes, settings))


def in_the_middle(state, change, settings):
    """One decision far from both windows."""
    return decide(state, change, 50, 100, settings)


CACHED = Progress(cached=True)
NEW, COMPUTED = (0.0, 0, False), (0.0, 0, True)

# --- published ---------------------------------------------------------------------------------------------------


def published_replay(threshold):
    calibration = load(TRACE["calibration"])
    return replay(
        TRACE["rel_l1"],
        Config(threshold, Curve(polynomial=calibration.polynomial, upper=calibration.upper)),
    )


def test_the_krea_trace_gives_the_pattern_that_was_measured_on_the_device():
    assert published_replay(TRACE["threshold"]) == TRACE["pattern"] == "CCCSCSCSCSCSCSCSCSCSCSCCCCCC"


def test_a_threshold_under_the_krea_floor_skips_nothing():
    assert published_replay(0.25) == "C" * 28


# --- one decision ------------------------------------------------------------------------------------------------


def test_first_step_has_nothing_to_compare_with():
    for step, reason in ((0, "first steps"), (5, "nothing to compare with")):
        decision = decide(Progress(), None, step, 10, config(skip_first=0))
        assert (decision.kind, decision.reason) == ("force", reason)
        assert carried(decision) == COMPUTED


def test_reuse_adds_to_the_sum_and_counts():
    decision = in_the_middle(Progress(number=0.25, skips=1, cached=True), 0.5, config())
    assert decision.kind == "reuse"
    assert (decision.change, decision.prediction, decision.running_sum) == (0.5, 0.5, 0.75)
    assert carried(decision) == (0.75, 2, True)


def test_compute_reports_the_sum_that_reached_the_threshold_and_resets_it():
    decision = in_the_middle(Progress(number=0.75, skips=1, cached=True), 0.5, config())
    assert (decision.kind, decision.running_sum, carried(decision)) == ("compute", 1.25, COMPUTED)


def test_the_threshold_itself_computes():
    assert in_the_middle(Progress(number=0.5, cached=True), 0.5, config()).kind == "compute"


@pytest.mark.parametrize(
    ("step", "reason"), [(0, "first steps"), (1, "first steps"), (7, "last steps"), (9, "last steps")]
)
def test_windows_force_and_reset(step, reason):
    before = Progress(number=0.25, skips=1, cached=True)
    decision = decide(before, 0.125, step, 10, config(skip_first=2, skip_last=3))
    assert (decision.kind, decision.reason, carried(decision)) == ("force", reason, COMPUTED)
    assert (decision.prediction, decision.running_sum) == (0.125, None)


@pytest.mark.parametrize("step", [2, 6])
def test_the_steps_just_inside_the_windows_may_be_skipped(step):
    assert decide(CACHED, 0.125, step, 10, config(skip_first=2, skip_last=3)).kind == "reuse"


def test_nothing_is_reused_without_a_cache():
    decision = in_the_middle(Progress(), 0.0, config())
    assert (decision.kind, decision.reason) == ("force", "nothing to reuse")


def test_a_change_under_the_range_counts_as_its_lower_end():
    decision = in_the_middle(CACHED, 0.0, config(lower=0.25))
    assert (decision.kind, decision.change, decision.prediction) == ("reuse", 0.0, 0.25)


def test_the_upper_end_belongs_to_the_range():
    settings = config(upper=0.5)
    assert in_the_middle(CACHED, 0.5, settings).kind == "reuse"
    above = in_the_middle(CACHED, math.nextafter(0.5, 1), settings)
    assert (above.kind, above.reason, above.prediction) == ("force", "change above the calibrated range", None)


def test_a_negative_prediction_counts_as_none():
    decision = in_the_middle(Progress(number=0.5, cached=True), 0.25, config(polynomial=(-8.0, 1.0)))
    assert (decision.kind, decision.prediction, decision.running_sum) == ("reuse", 0.0, 0.5)


def test_the_cap_forces_only_what_would_have_been_skipped():
    before = Progress(number=0.5, skips=2, cached=True)
    capped = in_the_middle(before, 0.25, config(max_skips=2))
    assert (capped.kind, capped.reason, capped.running_sum) == ("force", "2 skips in a row", 0.75)
    assert carried(capped) == COMPUTED
    assert in_the_middle(before, 0.5, config(max_skips=2)).kind == "compute"
    assert in_the_middle(before, 0.25, config(max_skips=3)).kind == "reuse"


@pytest.mark.parametrize("change", [math.nan, math.inf, -math.inf])
def test_a_change_that_is_not_finite_drops_the_cache(change):
    decision = in_the_middle(Progress(number=0.5, skips=1, cached=True), change, config(upper=0.5))
    assert (decision.kind, decision.drop_cache, carried(decision)) == ("force", True, NEW)


@pytest.mark.parametrize(
    "polynomial",
    [
        pytest.param((1e308, 0.0, 0.0), id="inf"),
        pytest.param((-1e308, 0.0, 0.0), id="minus inf"),
        pytest.param((1e308, 0.0, 0.0, -1e308, 0.0, 0.0, 0.0), id="nan"),
    ],
)
def test_a_prediction_that_is_not_finite_drops_the_cache(polynomial):
    decision = in_the_middle(CACHED, 1e308, config(polynomial=polynomial))
    assert (decision.kind, decision.drop_cache, carried(decision)) == ("force", True, NEW)


def test_a_dropped_cache_is_noticed_in_the_windows_too():
    assert decide(CACHED, math.nan, 0, 10, config()).drop_cache
    assert decide(CACHED, math.nan, 9, 10, config()).drop_cache


def test_two_computed_steps_lie_between_a_dropped_cache_and_the_next_skip():
    assert replay([0.1, 0.1, math.nan, 0.1, 0.1, 0.1], config()) == "CSSCCSC"


EDGES = {
    "state": [
        Progress(),
        CACHED,
        Progress(number=0.5, skips=1, cached=True),
        Progress(number=0.5, skips=2, cached=True),
    ],
    "change": [None, -1.0, 0.0, 0.25, 0.5, 0.75, 1e308, math.inf, math.nan],
    "step": [0, 1, 4, 8, 9],
    "threshold": [0.0, 0.5, 0.75, 1.0],
    "polynomial": [IDENTITY, (0.0,), (-1.0, 0.0), (1e308, 0.0, 0.0)],
    "upper": [0.5, math.inf],
}


@pytest.mark.parametrize("state", EDGES["state"], ids=["new", "cached", "1 skip", "2 skips"])
@pytest.mark.parametrize("change", EDGES["change"])
def test_every_edge_at_once(state, change):
    """A step is reused exactly if all of the conditions hold that the rule names."""
    rest = itertools.product(EDGES["step"], EDGES["threshold"], EDGES["polynomial"], EDGES["upper"])
    for step, threshold, polynomial, upper in rest:
        settings = config(threshold, polynomial=polynomial, upper=upper, max_skips=2)
        decision = decide(state, change, step, 10, settings)
        value = None if change is None else evaluate(polynomial, max(change, 0.0))
        allowed = (
            1 <= step <= 8
            and state.cached
            and state.skips < 2
            and change is not None
            and change <= upper
            and math.isfinite(value)
            and state.number + max(0.0, value) < threshold
        )
        assert (decision.kind == "reuse") == allowed
        assert decision.state.cached != decision.drop_cache
        assert decision.kind == "reuse" or (decision.state.number, decision.state.skips) == (0.0, 0)


# --- runs --------------------------------------------------------------------------------------------------------


def test_the_cap_holds_over_a_run():
    assert replay([0.0] * 11, config()) == "CSSSSSSSSCSC"
    assert replay([0.0] * 7, config(max_skips=2)) == "CSSCSSCC"


def test_max_skips_0_never_skips():
    assert replay([0.0] * 5, config(max_skips=0)) == "CCCCCC"


def test_the_sum_is_over_the_skipped_steps_and_reset_by_a_computed_one():
    # 0.5 | +0.25 = 0.75 | +0.25 = 1.0 reaches the threshold | 0.25 | +0.5 = 0.75 | last
    assert replay([0.5, 0.25, 0.25, 0.25, 0.5, 0.0], config()) == "CSSCSSC"


def test_replay_of_no_change_is_one_computed_step():
    assert replay([], config()) == "C"


def test_without_windows_only_the_first_step_is_forced():
    assert replay([0.0] * 3, config(skip_first=0, skip_last=0)) == "CSSS"


def test_more_threshold_can_compute_a_step_that_less_skips():
    """Single steps are not monotone in the threshold: the sum of a longer run of skips can end on any step."""
    assert replay([0.5, 0.5, 0.25, 0.0], config(0.75)) == "CSCSC"
    assert replay([0.5, 0.5, 0.25, 0.0], config(1.25)) == "CSSCC"


changes = st.floats(min_value=0.0, max_value=1.0)
odd_changes = changes | st.sampled_from([math.nan, math.inf, None])
configs = st.builds(
    Config,
    threshold=st.floats(min_value=0.0, max_value=2.0),
    curve=st.builds(
        Curve,
        polynomial=st.lists(st.floats(min_value=-5.0, max_value=5.0), min_size=1, max_size=5).map(tuple),
        lower=st.floats(min_value=0.0, max_value=0.2),
        upper=st.floats(min_value=0.3, max_value=1.0) | st.just(math.inf),
    ),
    limits=st.builds(Limits, skip_first=st.integers(0, 5), skip_last=st.integers(0, 5), max_skips=st.integers(0, 4)),
)
states = st.builds(
    Progress, number=st.floats(min_value=0.0, max_value=2.0), skips=st.integers(0, 4), cached=st.booleans()
)


def run(trace, settings):
    """Every decision of a run; the first step's change is None."""
    state, decisions = Progress(), []
    for step, change in enumerate([None, *trace]):
        decisions.append(decide(state, change, step, len(trace) + 1, settings))
        state = decisions[-1].state
    return decisions


def pattern(decisions):
    return "".join("S" if decision.kind == "reuse" else "C" for decision in decisions)


@given(st.lists(odd_changes, max_size=30), configs)
def test_a_run_keeps_every_promise(trace, settings):
    decisions = run(trace, settings)
    letters = pattern(decisions)
    assert replay(trace, settings) == letters
    assert len(letters) == len(trace) + 1
    assert "S" not in letters[: max(1, settings.limits.skip_first)]
    assert "S" not in letters[len(letters) - settings.limits.skip_last :]
    assert "S" * (settings.limits.max_skips + 1) not in letters
    for before, decision in itertools.pairwise(decisions):
        if decision.kind == "reuse":
            assert decision.running_sum < settings.threshold
            assert decision.change <= settings.curve.upper
            assert before.state.cached
            assert not before.drop_cache
        else:
            assert (decision.state.number, decision.state.skips) == (0.0, 0)


@given(st.lists(changes, max_size=30), configs)
def test_the_sum_of_a_run_of_skips_is_that_of_its_predictions(trace, settings):
    expected = 0.0
    for decision in run(trace, settings):
        if decision.kind == "reuse":
            expected += predict(decision.change, settings.curve)
            assert decision.running_sum == expected
        else:
            expected = 0.0


@given(st.lists(odd_changes, max_size=30), configs)
def test_threshold_0_never_skips(trace, settings):
    assert "S" not in replay(trace, replace(settings, threshold=0.0))


@given(states, odd_changes, st.integers(0, 12), configs, st.floats(min_value=0.0, max_value=2.0))
def test_from_the_same_state_more_threshold_skips_at_least_as_readily(state, change, step, settings, more):
    if decide(state, change, step, 12, settings).kind == "reuse":
        higher = replace(settings, threshold=settings.threshold + more)
        assert decide(state, change, step, 12, higher).kind == "reuse"


@given(st.lists(odd_changes, max_size=30), configs, st.floats(min_value=0.0, max_value=2.0))
def test_the_kth_computed_step_is_no_earlier_with_more_threshold(trace, settings, more):
    """Hence more threshold never skips fewer steps."""
    low = replay(trace, settings)
    high = replay(trace, replace(settings, threshold=settings.threshold + more))
    computed_low, computed_high = ([i for i, letter in enumerate(x) if letter == "C"] for x in (low, high))
    assert len(computed_high) <= len(computed_low)
    assert all(late >= early for late, early in zip(computed_high, computed_low, strict=False))


@given(st.lists(odd_changes, max_size=30), configs, st.integers(0, 4))
def test_a_higher_cap_never_skips_fewer_steps(trace, settings, more):
    low = replay(trace, settings)
    high = replay(trace, replace(settings, limits=replace(settings.limits, max_skips=settings.limits.max_skips + more)))
    assert high.count("S") >= low.count("S")


@given(states, odd_changes, st.integers(0, 12), configs)
def test_deciding_changes_nothing_that_it_was_given(state, change, step, settings):
    first = decide(state, change, step, 12, settings)
    second = decide(state, change, step, 12, settings)
    assert repr(first) == repr(second)  # NaN is not equal to itself, its text is


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.floats(-2, 2))
def test_evaluate_is_the_sum_of_the_powers(coefficients, x):
    powers = range(len(coefficients) - 1, -1, -1)
    expected = math.fsum(c * x**p for c, p in zip(coefficients, powers, strict=True))
    assert evaluate(coefficients, x) == pytest.approx(expected, abs=1e-9)


# --- windows -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 20))
def test_leaves_a_step_says_whether_a_still_signal_is_ever_skipped(first, last, total):
    letters = replay([0.0] * (total - 1), config(skip_first=first, skip_last=last))
    assert leaves_a_step(first, last, total) == ("S" in letters)


# --- config ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"polynomial": ()}, "at least one finite number"),
        ({"polynomial": (1.0, math.nan)}, "at least one finite number"),
        ({"lower": -0.1}, "range is -0.1 to inf"),
        ({"lower": 0.5, "upper": 0.4}, "range is 0.5 to 0.4"),
        ({"upper": math.nan}, "range is 0.0 to nan"),
        ({"skip_first": -1}, "window is -1"),
        ({"skip_last": -2}, "window is -2"),
        ({"max_skips": -3}, "cap on skips in a row is -3"),
    ],
)
def test_config_refuses(changes, message):
    with pytest.raises(OptionError, match=message):
        decide(Progress(), None, 0, 9, config(**changes))
