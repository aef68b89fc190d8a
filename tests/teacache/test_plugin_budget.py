"""A budget in place of a threshold, on the plugin's hooks."""

import math

import pytest
from scripted import DEV, generation, level
from teacache_steps import IDENTITY, KLEIN, LEVELS, attached, check, options, run

from mflux_teacache.errors import OptionError


def test_a_budget_in_place_of_a_threshold():
    image = run(attached(max_computed=4, **IDENTITY), LEVELS)
    assert image.pattern == "CSCCSC"
    # What each run may add up to: (0.25 + 0.25 * 3) / 3, (0.45 + 0.225 * 2) / 3, (1/3 + 0.261 * 1) / 2
    assert [d.threshold for d in image.decisions] == pytest.approx([None, 1 / 3, 0.3, 0.2972, None, None], abs=1e-4)
    assert image.residuals[1] == image.residuals[0]


@pytest.mark.parametrize(("speedup", "computed"), [(1, 28), (1.4, 20), (1.6, 17), (2, 14), (4, 7)])
def test_a_speedup_is_the_steps_over_the_computed_ones(speedup, computed):
    signals = [level(1.0 + index**2 / 100) for index in range(28)]
    plugin = attached(speedup=speedup, **IDENTITY)
    image = run(plugin, signals)
    assert image.pattern.count("C") == computed
    recorded = plugin.instance.mflux_image_metadata(generation(28))
    assert (recorded["threshold"], recorded["max_computed"]) == (None, computed)


def test_a_budget_needs_no_threshold():
    check(KLEIN, force=True, speedup=1.5)
    check(DEV, steps=28, max_computed=10)
    assert run(attached(DEV, max_computed=5), LEVELS).pattern.count("C") == 5


def test_a_change_above_the_range_counts_as_its_end(own_file):
    image = run(attached(calibration=own_file(range=[0.22, 0.3]), max_computed=4), LEVELS)
    assert [d.change for d in image.decisions[1:]] == pytest.approx([0.25, 0.2, 1 / 3, 0.25, 0.0])
    assert [d.prediction for d in image.decisions[1:4]] == pytest.approx([0.25, 0.22, 0.3])


def test_a_signal_that_goes_bad_is_computed_out_of_the_budget():
    signals = [level(1.0), level(1.1), level(math.nan), *[level(1.0 + index) for index in range(6)]]
    image = run(attached(max_computed=6, **IDENTITY), signals)
    assert [d.reason for d in image.decisions[2:4]] == ["change or prediction not finite"] * 2
    assert image.decisions[4].reason == "nothing to reuse"
    assert image.pattern.count("C") == 6
    assert not {step for step in range(5, 9) if image.residuals[step] < [40]}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_change_that_is_not_finite_is_not_taken_for_a_large_one(own_file, value):
    image = run(attached(calibration=own_file(range=[0.0, 0.5]), max_computed=4), [level(1.0), *[level(value)] * 8])
    assert (image.decisions[1].reason, image.decisions[1].forced) == ("change or prediction not finite", True)


@pytest.mark.parametrize(
    ("steps", "keywords", "message"),
    [
        (28, {"max_computed": 1}, r"1 step computed of 28: .* first 1 and the last 1, .* at most 8 .* takes 4\. Use "),
        (
            50,
            {"max_computed": 4},
            r"takes 7\. Use --teacache-max-computed 7 .*7\.14",
        ),
        (28, {"speedup": 9}, r"3 steps computed of 28"),
        (28, {"speedup": 4, "skip_first": 0.2, "skip_last": 3}, r"7 steps .* first 6 and the last 3, .* takes 11\."),
        (10, {"max_computed": 9, "max_skips": 0}, r"skips at most 0 in a row, which takes 10\."),
    ],
)
def test_a_budget_that_windows_and_cap_exceed(steps, keywords, message):
    with pytest.raises(OptionError, match=message):
        check(DEV, steps=steps, **keywords)


@pytest.mark.parametrize("budget", [{"max_computed": 9}, {"speedup": 1.6}])
def test_a_budget_and_a_threshold(budget):
    [name] = budget
    option = f"--teacache-{name.replace('_', '-')}"
    with pytest.raises(OptionError, match=f"argument {option}: not allowed with argument --teacache-thresh"):
        options(thresh=0.2, **budget)
