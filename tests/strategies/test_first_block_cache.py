"""First-block cache, with steps whose signals are scripted: change and residual of each can be worked out by eye."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.options import as_json, from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Body, BodyBranch, Generation, Step, Target
from mflux_teacache.strategies.first_block_cache import FirstBlockCache, may_reuse

PLUGIN = Loaded("first-block-cache", FirstBlockCache)


class Script:
    """Signals of one step; only block 0's residual may be read."""

    def __init__(self, signal):
        self.signal = np.asarray(signal, np.float32)

    def first_block_residual(self):
        return self.signal

    def relative_l1(self, now, earlier):
        return float(np.abs(now - earlier).mean() / np.abs(earlier).mean())


def attached(**keywords):
    plugin = FirstBlockCache()
    plugin.mflux_attach(from_keywords(PLUGIN, keywords))
    return plugin


def run(plugin, signals, target_rows=None, branches=1, refusing=()):
    """Decisions of one image, and the residuals that each step ended with: ``10 * step + branch`` where computed."""
    image = Generation(
        number=0,
        seed=1,
        prompt="",
        width=16,
        height=16,
        guidance=4.0,
        num_inference_steps=len(signals),
        active_steps=len(signals),
        target_rows=target_rows,
    )
    decisions, residuals = [], []
    plugin.mflux_generation_start()
    for index, signal in enumerate(signals):
        decision = plugin.mflux_pre_transformer(Step(index, image, branches, Script(signal)))
        reused = [decision.residuals is not None and (index, place) not in refusing for place in range(branches)]
        kept = [decision.residuals[b] if reused[b] else np.array([10 * index + b]) for b in range(branches)]
        body = Body(tuple(BodyBranch(None, None, kept[b], reused[b]) for b in range(branches)))
        plugin.mflux_post_transformer(body)
        decisions.append(decision)
        residuals.append([int(residual[0]) for residual in kept])
    plugin.mflux_generation_end()
    return decisions, residuals


def pattern(decisions):
    return "".join("C" if decision.residuals is None else "S" for decision in decisions)


def level(value, rows=4):
    return np.full((1, rows, 2), value)


def test_block_0_runs_in_every_step():
    assert FirstBlockCache.residual_after == 1


@pytest.mark.parametrize(
    ("change", "threshold", "reuse"),
    [(0.0, 0.0, False), (0.0, 0.1, True), (0.1, 0.1, False), (0.09, 0.1, True), (math.nan, 9.0, False)],
)
def test_the_rule(change, threshold, reuse):
    assert may_reuse(change, threshold) == reuse


@given(st.floats(allow_nan=True), st.floats(0, 10), st.floats(0, 10))
def test_more_threshold_reuses_at_least_as_readily(change, threshold, more):
    assert not may_reuse(change, threshold) or may_reuse(change, threshold + more)


def test_the_comparison_is_with_the_last_computed_step():
    # Against 1.0: 0.125, 0.25 (not under the threshold), then against 1.25: 0.2, 0.0.
    decisions, residuals = run(attached(thresh=0.25), [level(value) for value in (1.0, 1.125, 1.25, 1.5, 1.25)])
    assert pattern(decisions) == "CSCSS"
    assert [d.change for d in decisions] == [None, 0.125, 0.25, pytest.approx(0.2), 0.0]
    assert [d.forced for d in decisions] == [True, False, False, False, False]
    assert {d.threshold for d in decisions} == {0.25}
    assert residuals == [[0], [0], [20], [20], [20]]


def test_a_slow_drift_is_noticed():
    """Each step moves by less than the threshold, their sum does not."""
    decisions, _ = run(attached(thresh=0.25), [level(1.0 + 0.125 * i) for i in range(6)])
    assert pattern(decisions) == "CSCSSC"


def test_each_branch_reuses_its_own_residual():
    _, residuals = run(attached(), [level(1.0)] * 3, branches=2)
    assert residuals == [[0, 1]] * 3


def test_a_branch_that_had_to_compute_hands_on_its_new_residual():
    _, residuals = run(attached(), [level(1.0)] * 3, branches=2, refusing={(1, 1)})
    assert residuals == [[0, 1], [0, 11], [0, 11]]


def test_a_change_that_is_not_a_number_computes_until_it_is_one_again():
    decisions, _ = run(attached(), [level(value) for value in (1.0, math.nan, 1.0, 1.0)])
    assert pattern(decisions) == "CCCS"


def test_only_the_rows_of_the_image_being_made_count():
    first, second = level(1.0), level(1.0)
    second[:, :2] = 1.25
    decisions, _ = run(attached(), [first, second], target_rows=2)
    assert decisions[1].change == 0.25


def test_threshold_0_never_skips():
    assert pattern(run(attached(thresh=0), [level(1.0)] * 4)[0]) == "CCCC"


def test_each_image_starts_afresh_and_leaves_nothing():
    plugin = attached()
    assert pattern(run(plugin, [level(1.0)] * 2)[0]) == "CS"
    assert (plugin._reference, plugin._residuals) == (None, ())
    assert pattern(run(plugin, [level(1.0)] * 2)[0]) == "CS"


def test_the_option():
    assert as_json(from_keywords(PLUGIN, {})) == {"thresh": 0.08}
    assert as_json(from_keywords(PLUGIN, {"thresh": 0.2})) == {"thresh": 0.2}
    for value in (-0.1, "nan", "inf", "little"):
        with pytest.raises(OptionError, match=f"--first-block-cache-thresh: '{value}' is not a finite number from 0"):
            from_keywords(PLUGIN, {"thresh": value})


def test_a_run_of_one_step_is_refused():
    plugin = FirstBlockCache()
    with pytest.raises(Refused, match="nothing to skip of a run of 1. It takes at least 2 active steps"):
        plugin.mflux_check(Target(pipeline="Flux1", active_steps=1))
    plugin.mflux_check(Target(pipeline="Flux1", active_steps=2))
    plugin.mflux_check(Target(pipeline="Flux1"))
