"""Which steps the plugin skips, and what it reuses in them."""

import math

import mlx.core as mx
import pytest
from scripted import DEV, Scripted, generation, level
from teacache_steps import IDENTITY, KONTEXT, LEVELS, attached, run


def test_decisions_say_what_was_measured_and_held_against_the_threshold():
    image = run(attached(thresh=0.5, **IDENTITY), LEVELS)
    assert image.pattern == "CSSCSC"
    assert [(d.forced, d.reason) for d in image.decisions] == [
        (True, "first steps"),
        (False, "predicted change under the threshold"),
        (False, "predicted change under the threshold"),
        (False, "predicted change reached the threshold"),
        (False, "predicted change under the threshold"),
        (True, "last steps"),
    ]
    assert [d.change for d in image.decisions[1:]] == pytest.approx([0.25, 0.2, 1 / 3, 0.25, 0.0])
    assert [d.prediction for d in image.decisions[1:]] == [d.change for d in image.decisions[1:]]
    assert [d.running_sum for d in image.decisions[1:5]] == pytest.approx([0.25, 0.45, 0.45 + 1 / 3, 0.25])
    first, last = image.decisions[0], image.decisions[5]
    assert (first.change, first.running_sum, last.running_sum) == (None, None, None)
    assert {d.threshold for d in image.decisions} == {0.5}


def test_a_skipped_step_reuses_what_the_last_computed_one_added_for_each_branch():
    image = run(attached(thresh=0.5, **IDENTITY), LEVELS, branches=2)
    assert image.residuals == [[0, 1], [0, 1], [0, 1], [30, 31], [30, 31], [50, 51]]
    assert image.pattern == "CSSCSC"


def test_a_branch_that_had_to_compute_hands_on_its_new_residual():
    image = run(attached(thresh=0.5, **IDENTITY), LEVELS, branches=2, refusing={(1, 1)})
    assert image.residuals[:4] == [[0, 1], [0, 11], [0, 11], [30, 31]]


def test_the_signal_is_read_and_compared_once_per_step():
    image = run(attached(thresh=0.5, **IDENTITY), LEVELS[:3])
    assert image.reads == ["modulated_input", *["modulated_input", "relative_l1"] * 2]


def test_a_signal_that_goes_bad_drops_the_cache_for_two_steps():
    signals = [level(1.0), level(1.0), level(math.nan), level(1.0), level(1.0), level(1.0), level(1.0)]
    image = run(attached(thresh=0.5, **IDENTITY), signals)
    # Bad twice, as step 3 is compared with step 2; step 4 is the first with a residual to trust.
    assert image.pattern == "CSCCCSC"
    assert [d.reason for d in image.decisions[2:5]] == [*["change or prediction not finite"] * 2, "nothing to reuse"]
    assert image.residuals[5] == [40]


def test_nothing_is_held_while_nothing_can_be_reused(monkeypatch):
    plugin, held = attached(thresh=0.5, **IDENTITY), []
    after = plugin.instance.mflux_post_transformer

    def looking(step, body):
        before = plugin.instance.cache.empty
        after(step, body)
        held.append((before, plugin.instance.cache.empty))

    calls = plugin.call
    monkeypatch.setattr(
        plugin,
        "call",
        lambda hook, **given: looking(**given) if hook == "mflux_post_transformer" else calls(hook, **given),
    )
    run(plugin, [level(value) for value in (1.0, 1.0, math.nan, 1.0, 1.0)])
    assert held == [(True, False), (False, False), (True, True), (True, True), (True, False)]


def test_a_signal_of_another_size_computes():
    signals = [level(1.0), level(1.0), level(1.0, rows=6), level(1.0, rows=6), level(1.0, rows=6), level(1.0, rows=6)]
    assert run(attached(thresh=0.5, **IDENTITY), signals).pattern == "CSCCSC"


def test_a_forecast_goes_on_from_the_computed_steps_in_sigma():
    plugin = attached(thresh=0.5, forecast=1, **IDENTITY)
    image = run(plugin, [level(value) for value in (1.0, 2.0, 2.0, 2.0)], sigmas=[1.0, 0.8, 0.72, 0.3])
    # From 0 and 10 at 1.0 and 0.8 to 0.72: 10 + 0.4 * 10.
    assert image.residuals[:3] == [[0], [10], pytest.approx([14])]
    assert plugin.call("mflux_image_metadata", generation=image.generation)["forecast"] == 1


def test_each_image_starts_afresh():
    plugin = attached(thresh=0.5, **IDENTITY)
    first = run(plugin, LEVELS)
    second = run(plugin, LEVELS)
    assert second.pattern == first.pattern
    assert second.decisions[0].change is None


def test_an_image_that_did_not_end_leaves_nothing_to_the_next():
    plugin = attached(thresh=0.5, **IDENTITY)
    for _ in range(2):
        plugin.call("mflux_generation_start", generation=generation(9))
        first = Scripted(0, generation(9), None, None, level(1.0))
        assert plugin.call("mflux_pre_transformer", step=first).change is None


def test_arrays_are_dropped_when_the_image_ends():
    plugin = attached(thresh=0.5, **IDENTITY)
    run(plugin, LEVELS)
    assert plugin.instance.cache.empty
    assert not [value for value in vars(plugin.instance).values() if isinstance(value, mx.array)]


def test_windows_and_cap_come_from_the_options():
    still = [level(1.0)] * 10
    keywords = {"thresh": 0.5, "skip_first": 0.2, "skip_last": 3, "max_skips": 2, **IDENTITY}
    assert run(attached(**keywords), still).pattern == "CCSSCSSCCC"


def test_windows_come_from_the_calibration_else_one_step_each():
    still = [level(1.0)] * 10
    assert run(attached(KONTEXT), still).pattern == "CCSSSSSCSC"  # 0.0375 each: 0.22 after five
    assert run(attached(KONTEXT, skip_first=1, skip_last=2), still).pattern == "CSSSSSCSCC"
    assert run(attached(DEV, thresh=0.6), still).pattern == "CSSCSSCSSC"  # 0.264 each


@pytest.mark.parametrize("steps", [20, 10, 4])
def test_windows_are_counted_in_the_steps_that_run(steps):
    """Image-to-image runs the end of the schedule: fractions are of that part, as counts are."""
    still = [level(1.0)] * steps
    shares = {"thresh": 0.5, "skip_first": 0.25, "skip_last": 0.5, "max_skips": 99, **IDENTITY}
    assert run(attached(**shares), still).pattern == "C" * -(-steps // 4) + "S" * (steps // 4) + "C" * (steps // 2)
    counts = {**shares, "skip_first": 2, "skip_last": 1}
    assert run(attached(**counts), still).pattern == "CC" + "S" * (steps - 3) + "C"


def test_the_cap_holds_without_being_asked_for():
    assert run(attached(thresh=0.5, **IDENTITY), [level(1.0)] * 21).pattern == "CSSSSSSSSCSSSSSSSSCSC"
