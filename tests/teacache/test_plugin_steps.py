"""Which steps the plugin skips, and what it reuses in them."""

import math

import mlx.core as mx
import pytest
from scripted import DEV, generation
from teacache_steps import IDENTITY, KONTEXT, LEVELS, Script, attached, branch, level, pattern, run

from mflux_teacache.records import Body, BodyBranch, Step


def test_decisions_say_what_was_measured_and_held_against_the_threshold():
    decisions, _, _ = run(attached(thresh=0.5, **IDENTITY), LEVELS)
    assert pattern(decisions) == "CSSCSC"
    assert [(d.forced, d.reason) for d in decisions] == [
        (True, "first steps"),
        (False, "predicted change under the threshold"),
        (False, "predicted change under the threshold"),
        (False, "predicted change reached the threshold"),
        (False, "predicted change under the threshold"),
        (True, "last steps"),
    ]
    assert [d.change for d in decisions[1:]] == pytest.approx([0.25, 0.2, 1 / 3, 0.25, 0.0])
    assert [d.prediction for d in decisions[1:]] == [d.change for d in decisions[1:]]
    assert [d.running_sum for d in decisions[1:5]] == pytest.approx([0.25, 0.45, 0.45 + 1 / 3, 0.25])
    assert (decisions[0].change, decisions[0].running_sum, decisions[5].running_sum) == (None, None, None)
    assert {d.threshold for d in decisions} == {0.5}


def test_a_skipped_step_reuses_what_the_last_computed_one_added_for_each_branch():
    decisions, residuals, _ = run(attached(thresh=0.5, **IDENTITY), LEVELS, branches=2)
    assert residuals == [[0, 1], [0, 1], [0, 1], [30, 31], [30, 31], [50, 51]]
    assert pattern(decisions) == "CSSCSC"


def test_a_branch_that_had_to_compute_hands_on_its_new_residual():
    _, residuals, _ = run(attached(thresh=0.5, **IDENTITY), LEVELS, branches=2, refusing={(1, 1)})
    assert residuals[:4] == [[0, 1], [0, 11], [0, 11], [30, 31]]


def test_the_signal_is_read_and_compared_once_per_step():
    _, _, log = run(attached(thresh=0.5, **IDENTITY), LEVELS[:3])
    assert log == ["modulated_input", *["modulated_input", "relative_l1"] * 2]


def test_a_signal_that_goes_bad_drops_the_cache_for_two_steps():
    signals = [level(1.0), level(1.0), level(math.nan), level(1.0), level(1.0), level(1.0), level(1.0)]
    decisions, residuals, _ = run(attached(thresh=0.5, **IDENTITY), signals)
    # Bad twice, as step 3 is compared with step 2; step 4 is the first with a residual to trust.
    assert pattern(decisions) == "CSCCCSC"
    assert [d.reason for d in decisions[2:5]] == [*["change or prediction not finite"] * 2, "nothing to reuse"]
    assert residuals[5] == [40]


def test_nothing_is_held_while_nothing_can_be_reused():
    plugin, image, held = attached(thresh=0.5, **IDENTITY), generation(9), []
    plugin.mflux_generation_start(image)
    for index, value in enumerate([1.0, 1.0, math.nan, 1.0, 1.0]):
        step = Step(index, image, 1, Script(level(value), []))
        decision = plugin.mflux_pre_transformer(step)
        before = plugin._image.cache.empty
        plugin.mflux_post_transformer(step, Body((branch(decision, index, 0, ()),)))
        held.append((before, plugin._image.cache.empty))
    assert held == [(True, False), (False, False), (True, True), (True, True), (True, False)]


def test_a_signal_of_another_size_computes():
    signals = [level(1.0), level(1.0), level(1.0, rows=6), level(1.0, rows=6), level(1.0, rows=6), level(1.0, rows=6)]
    assert pattern(run(attached(thresh=0.5, **IDENTITY), signals)[0]) == "CSCCSC"


def test_a_forecast_goes_on_from_the_computed_steps_in_sigma():
    sigmas = [1.0, 0.8, 0.72, 0.3]
    signals = [level(value) for value in (1.0, 2.0, 2.0, 2.0)]

    def at(index):
        script = Script(signals[index], [])
        script.sigma = lambda: sigmas[index]
        return Step(index, image, 1, script)

    plugin, image, reused = attached(thresh=0.5, forecast=1, **IDENTITY), generation(4), []
    plugin.mflux_generation_start(image)
    for index in range(3):
        decision = plugin.mflux_pre_transformer(at(index))
        computed = mx.full((1, 4, 2), 10.0 * index)
        residual = computed if decision.residuals is None else decision.residuals[0]
        plugin.mflux_post_transformer(at(index), Body((BodyBranch(None, None, residual, residual is not computed),)))
        reused.append(residual[0, 0, 0].item())
    # From 0 and 10 at 1.0 and 0.8 to 0.72: 10 + 0.4 * 10.
    assert reused == pytest.approx([0, 10, 14])
    assert plugin.mflux_image_metadata(image)["forecast"] == 1


def test_each_image_starts_afresh():
    plugin = attached(thresh=0.5, **IDENTITY)
    first = run(plugin, LEVELS)
    second = run(plugin, LEVELS)
    assert pattern(second[0]) == pattern(first[0])
    assert second[0][0].change is None


def test_an_image_that_did_not_end_leaves_nothing_to_the_next():
    plugin = attached(thresh=0.5, **IDENTITY)
    for _ in range(2):
        plugin.mflux_generation_start(generation(9))
        assert plugin.mflux_pre_transformer(Step(0, generation(9), None, Script(level(1.0), []))).change is None


def test_arrays_are_dropped_when_the_image_ends():
    plugin = attached(thresh=0.5, **IDENTITY)
    run(plugin, LEVELS)
    assert not [value for value in vars(plugin).values() if not isinstance(value, type(plugin._settings)) and value]


def test_windows_and_cap_come_from_the_options():
    still = [level(1.0)] * 10
    keywords = {"thresh": 0.5, "skip_first": 0.2, "skip_last": 3, "max_skips": 2, **IDENTITY}
    assert pattern(run(attached(**keywords), still)[0]) == "CCSSCSSCCC"


def test_windows_come_from_the_calibration_else_one_step_each():
    still = [level(1.0)] * 10
    assert pattern(run(attached(KONTEXT), still)[0]) == "CCSSSSSCSC"  # 0.0375 each: 0.22 after five
    assert pattern(run(attached(KONTEXT, skip_first=1, skip_last=2), still)[0]) == "CSSSSSCSCC"
    assert pattern(run(attached(DEV, thresh=0.6), still)[0]) == "CSSCSSCSSC"  # 0.264 each


@pytest.mark.parametrize("steps", [20, 10, 4])
def test_windows_are_counted_in_the_steps_that_run(steps):
    """Image-to-image runs the end of the schedule: fractions are of that part, as counts are."""
    still = [level(1.0)] * steps
    shares = {"thresh": 0.5, "skip_first": 0.25, "skip_last": 0.5, "max_skips": 99, **IDENTITY}
    assert pattern(run(attached(**shares), still)[0]) == "C" * -(-steps // 4) + "S" * (steps // 4) + "C" * (steps // 2)
    counts = {**shares, "skip_first": 2, "skip_last": 1}
    assert pattern(run(attached(**counts), still)[0]) == "CC" + "S" * (steps - 3) + "C"


def test_the_cap_holds_without_being_asked_for():
    assert pattern(run(attached(thresh=0.5, **IDENTITY), [level(1.0)] * 21)[0]) == "CSSSSSSSSCSSSSSSSSCSC"
