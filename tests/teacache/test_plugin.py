"""The plugin's hooks, with steps whose signals are scripted: change and residual of each can be worked out by eye."""

import json
import math
import warnings
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.options import as_json, from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Body, BodyBranch, Generation, Step, Target
from mflux_teacache.teacache.budget import Budget
from mflux_teacache.teacache.plugin import TeaCache
from mflux_teacache.teacache.policy import PolicyConfig
from mflux_teacache.teacache.rules import ByBudget

PLUGIN = Loaded("teacache", TeaCache)

DEV = Target(pipeline="Flux1", model="black-forest-labs/FLUX.1-dev")
FILL = Target(pipeline="Flux1Fill", model="black-forest-labs/FLUX.1-Fill-dev")
KONTEXT = Target(pipeline="Flux1Kontext", model="black-forest-labs/FLUX.1-Kontext-dev")
KLEIN = Target(pipeline="Flux2Klein", model="black-forest-labs/FLUX.2-klein-4B")
UNKNOWN = Target(pipeline="ErnieImage", model="baidu/ERNIE-Image")
LENS = Target(pipeline="LensImage", model="Comfy-Org/Lens", distilled=True)

# The change itself is the prediction.
IDENTITY = {"coefficients": [1.0, 0.0]}


class Script:
    """Signals of one step: what is read and compared is noted."""

    def __init__(self, signal, log):
        self.signal, self.log = np.asarray(signal, np.float32), log

    def modulated_input(self):
        self.log.append("modulated_input")
        return self.signal

    def first_block_residual(self):
        self.log.append("first_block_residual")
        return self.signal

    def latents(self):
        raise AssertionError("TeaCache has no use for the latents")

    def sigma(self):
        return None

    def relative_l1(self, now, earlier):
        self.log.append("relative_l1")
        if now.shape != earlier.shape:
            return math.nan
        return float(np.abs(now - earlier).mean() / np.abs(earlier).mean())


def options(**keywords):
    return from_keywords(PLUGIN, keywords)


def attached(target=DEV, **keywords):
    plugin = TeaCache()
    plugin.mflux_attach(options(**keywords), target)
    return plugin


def generation(steps, target_rows=None):
    return Generation(
        number=0,
        seed=1,
        prompt="",
        width=16,
        height=16,
        guidance=4.0,
        num_inference_steps=steps,
        active_steps=steps,
        target_rows=target_rows,
    )


def level(value, rows=4):
    """A signal that is ``value`` everywhere: from 1.0 to 1.25 it changes by 0.25."""
    return np.full((1, rows, 2), value)


def run(plugin, signals, branches=1, refusing=(), target_rows=None):
    """All steps of one image. Residuals are numbers: step i's branch b computes ``10 * i + b``.

    ``refusing`` are (step, branch) whose residual does not fit, so that the branch computes after all.
    Returns decisions, the residuals that each step ended with, and the log of what was read.
    """
    image, log, decisions, residuals = generation(len(signals), target_rows), [], [], []
    plugin.mflux_generation_start(image)
    for index, signal in enumerate(signals):
        step = Step(index, image, branches if index else None, Script(signal, log))
        decision = plugin.mflux_pre_transformer(step)
        body = Body(tuple(branch(decision, index, place, refusing) for place in range(branches)))
        plugin.mflux_post_transformer(step, body)
        decisions.append(decision)
        residuals.append([int(residual[0]) for residual in body.residuals])
    plugin.mflux_generation_end()
    return decisions, residuals, log


def branch(decision, index, place, refusing):
    reused = decision.residuals is not None and (index, place) not in refusing
    residual = decision.residuals[place] if reused else np.array([10 * index + place])
    return BodyBranch(input=None, output=None, residual=residual, reused=reused)


def pattern(decisions):
    return "".join("C" if decision.residuals is None else "S" for decision in decisions)


# --- steps -------------------------------------------------------------------------------------------------------

# Changes: 0.25, 0.2, 0.333, 0.25, 0
LEVELS = [level(value) for value in (1.0, 1.25, 1.5, 2.0, 2.5, 2.5)]


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


# --- budget ------------------------------------------------------------------------------------------------------


def test_a_budget_in_place_of_a_threshold():
    decisions, residuals, _ = run(attached(max_computed=4, **IDENTITY), LEVELS)
    assert pattern(decisions) == "CSCCSC"
    # What each run may add up to: (0.25 + 0.25 * 3) / 3, (0.45 + 0.225 * 2) / 3, (1/3 + 0.261 * 1) / 2
    assert [d.threshold for d in decisions] == pytest.approx([None, 1 / 3, 0.3, 0.2972, None, None], abs=1e-4)
    assert residuals[1] == residuals[0]


@pytest.mark.parametrize(("speedup", "computed"), [(1, 28), (1.4, 20), (1.6, 17), (2, 14), (4, 7)])
def test_a_speedup_is_the_steps_over_the_computed_ones(speedup, computed):
    signals = [level(1.0 + index**2 / 100) for index in range(28)]
    plugin = attached(speedup=speedup, **IDENTITY)
    decisions, _, _ = run(plugin, signals)
    assert pattern(decisions).count("C") == computed
    recorded = plugin.mflux_image_metadata(generation(28))
    assert (recorded["threshold"], recorded["max_computed"]) == (None, computed)


def test_a_budget_needs_no_threshold():
    check(KLEIN, force=True, speedup=1.5)
    check(DEV, steps=28, max_computed=10)
    assert pattern(run(attached(DEV, max_computed=5), LEVELS)[0]).count("C") == 5


def test_a_change_above_the_range_counts_as_its_end(own_file):
    decisions, _, _ = run(attached(calibration=own_file(range=[0.22, 0.3]), max_computed=4), LEVELS)
    assert [d.change for d in decisions[1:]] == pytest.approx([0.25, 0.2, 1 / 3, 0.25, 0.0])
    assert [d.prediction for d in decisions[1:4]] == pytest.approx([0.25, 0.22, 0.3])


def test_a_signal_that_goes_bad_is_computed_out_of_the_budget():
    signals = [level(1.0), level(1.1), level(math.nan), *[level(1.0 + index) for index in range(6)]]
    decisions, residuals, _ = run(attached(max_computed=6, **IDENTITY), signals)
    assert [d.reason for d in decisions[2:4]] == ["change or prediction not finite"] * 2
    assert decisions[4].reason == "nothing to reuse"
    assert pattern(decisions).count("C") == 6
    assert not {step for step in range(5, 9) if residuals[step] < [40]}


@pytest.mark.parametrize("change", [math.nan, math.inf])
def test_a_change_that_is_not_finite_is_not_taken_for_a_large_one(change):
    rule = ByBudget(PolicyConfig(threshold=0, polynomial=(1.0, 0.0), upper=0.5), Budget(total=9, computed=4))
    for index in (0, 1):
        verdict = rule.judge((None, change)[index], Step(index, generation(9), 1, Script(level(1.0), [])))
    assert (verdict.kind, verdict.drop_cache) == ("force", True)


@pytest.mark.parametrize(
    ("steps", "keywords", "message"),
    [
        (28, {"max_computed": 1}, r"1 step computed of 28: .* first 1 and the last 1, .* at most 8 .* takes 4\. Use "),
        (
            50,
            {"max_computed": 4},
            r"which takes 7\. Use --teacache-max-computed 7 .*--teacache-speedup of at most 7\.14",
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


# --- which rows, which signal ------------------------------------------------------------------------------------


def with_reference(value):
    """Two rows of the image being made, and six of a reference that never changes."""
    signal = level(1.0, rows=8)
    signal[:, :2] = value
    return signal


def test_only_the_rows_of_the_image_being_made_count():
    signals = [with_reference(value) for value in (1.0, 1.25, 1.25)]
    decisions, _, _ = run(attached(thresh=0.5, **IDENTITY), signals, target_rows=2)
    assert decisions[1].change == pytest.approx(0.25)


def test_a_calibration_made_on_all_rows_reads_all_rows():
    signals = [with_reference(value) for value in (1.0, 1.25, 1.25)]
    decisions, _, _ = run(attached(KONTEXT), signals, target_rows=2)
    assert decisions[1].change == pytest.approx(0.25 * 2 / 8)


@pytest.mark.parametrize("target_rows", [None, 4, 9])
def test_target_rows_that_do_not_cut_anything(target_rows):
    decisions, _, _ = run(attached(thresh=0.5, **IDENTITY), LEVELS, target_rows=target_rows)
    assert decisions[1].change == pytest.approx(0.25)


@pytest.fixture
def own_file(tmp_path):
    def write(**fields):
        data = {
            "schema": 1,
            "name": "mine",
            "model": DEV.model,
            "pipelines": ["Flux1"],
            "signal": "modulated_input",
            "rows": "target",
            "polynomial": [1.0, 0.0],
            "threshold": 0.5,
            "source": "measured here",
        }
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(data | fields))
        return str(path)

    return write


def test_a_calibration_on_the_first_block_reads_that(own_file):
    decisions, _, log = run(attached(calibration=own_file(signal="first_block_residual")), LEVELS)
    assert set(log) == {"first_block_residual", "relative_l1"}
    assert pattern(decisions) == "CSSCSC"


def test_the_range_of_a_calibration_is_held(own_file):
    decisions, _, _ = run(attached(calibration=own_file(range=[0.22, 0.3], threshold=0.6)), LEVELS)
    # 0.25 + 0.22 (raised from 0.2), then 0.333 is above the range
    assert [d.running_sum for d in decisions[1:3]] == pytest.approx([0.25, 0.47])
    assert (decisions[3].reason, decisions[3].forced) == ("change above the calibrated range", True)


def test_coefficients_by_hand_have_no_range():
    decisions, _, _ = run(attached(thresh=50.0, **IDENTITY), [level(1.0), level(9.0), level(9.0)])
    assert (decisions[1].change, decisions[1].prediction) == (8.0, 8.0)
    assert pattern(decisions) == "CSC"


# --- options -----------------------------------------------------------------------------------------------------


def test_defaults():
    assert vars(options()) == {
        "thresh": None,
        "max_computed": None,
        "speedup": None,
        "skip_first": None,
        "skip_last": None,
        "max_skips": 8,
        "forecast": 0,
        "cache_dtype": None,
        "calibration": None,
        "coefficients": None,
        "force": False,
    }


GIVEN = {
    "thresh": 0.25,
    "max_computed": None,
    "speedup": None,
    "skip_first": 0.2,
    "skip_last": 3,
    "max_skips": 0,
    "forecast": 2,
    "cache_dtype": "bfloat16",
    "calibration": "flux1-dev",
    "coefficients": (-1.5, 2.0, 1e-07),
    "force": True,
}


def test_values_survive_being_recorded_and_given_again():
    given = options(**GIVEN)
    assert vars(given) == GIVEN
    kinds = [type(value) for value in vars(given).values() if value is not None]
    assert kinds == [float, float, int, int, int, str, str, tuple, bool]
    assert vars(options(**json.loads(json.dumps(as_json(given))))) == GIVEN


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("thresh", "high", "'high' is not a finite number from 0"),
        ("thresh", -0.1, "'-0.1' is not a finite number from 0"),
        ("thresh", "nan", "'nan' is not a finite number from 0"),
        ("thresh", "inf", "'inf' is not a finite number from 0"),
        ("skip_first", 1.5, "'1.5' is neither a number of steps from 0, such as 3, nor a fraction"),
        ("skip_first", "some", "'some' is neither"),
        ("skip_last", -1, "'-1' is neither"),
        ("skip_last", 1.0, "'1.0' is neither"),
        ("max_skips", -1, "'-1' is not a whole number from 0"),
        ("max_skips", 1.5, "'1.5' is not a whole number from 0"),
        ("max_computed", 0, "'0' is not a whole number from 1"),
        ("speedup", 0.9, "'0.9' is not a finite number from 1"),
        ("coefficients", [], "'' is not a list of finite numbers"),
        ("coefficients", "1;2", "'1;2' is not a list of finite numbers"),
        ("coefficients", "1,,2", "'1,,2' is not a list of finite numbers"),
        ("coefficients", [1.0, math.nan], "'1.0,nan' is not a list of finite numbers"),
    ],
)
def test_values_that_are_not_allowed(name, value, message):
    with pytest.raises(OptionError, match=f"--teacache-{name.replace('_', '-')}: {message}"):
        options(**{name: value})


# --- refusals ----------------------------------------------------------------------------------------------------


def check(target, steps=None, **keywords):
    TeaCache().mflux_check(options(**keywords), replace(target, active_steps=steps))


def test_what_is_calibrated_passes():
    check(DEV)
    check(DEV, steps=3)
    check(FILL, steps=25)
    check(KLEIN, force=True, thresh=0.5)
    check(UNKNOWN, thresh=0.5, coefficients=[1.0, 0.0])


def test_a_target_that_is_not_known_yet_passes():
    check(Target(pipeline="Flux1"), steps=1)


def test_a_model_without_calibration():
    with pytest.raises(Refused, match=r"no calibration for baidu/ERNIE-Image .*first-block-cache"):
        check(UNKNOWN)
    with pytest.raises(Refused, match="no calibration"):
        check(UNKNOWN, force=True)  # there is no polynomial to force


@pytest.mark.parametrize("own", [{}, {"thresh": 0.5, "coefficients": [1.0, 0.0]}], ids=["calibration", "by hand"])
def test_a_distilled_model(own):
    with pytest.raises(Refused, match=r"FLUX\.2-klein-4B is distilled to a few steps.*base model.*--teacache-force"):
        check(KLEIN, **own)
    check(KLEIN, force=True, **{"thresh": 0.5, **own})


def test_a_distilled_model_without_a_calibration_is_told_that_it_is_distilled():
    with pytest.raises(Refused, match="Comfy-Org/Lens is distilled to a few steps"):
        check(LENS)
    with pytest.raises(Refused, match="no calibration for Comfy-Org/Lens"):
        check(LENS, force=True)
    check(LENS, force=True, thresh=0.5, coefficients=[1.0, 0.0])


def test_a_checkpoint_based_on_a_distilled_model():
    with pytest.raises(Refused, match="/models/mine is distilled"):
        check(Target(pipeline="Flux2Klein", model="/models/mine", base_model=KLEIN.model), thresh=0.5)


def test_a_file_of_ones_own_that_says_distilled(own_file):
    with pytest.raises(Refused, match="is distilled"):
        check(DEV, calibration=own_file(distilled=True))


def test_no_threshold_anywhere():
    with pytest.raises(
        OptionError, match=r"no default threshold .* flux2-klein-4b\. .*--teacache-thresh.*above 0\.424"
    ):
        check(KLEIN, force=True)
    with pytest.raises(OptionError, match=r"no default threshold .* by hand"):
        check(DEV, coefficients=[1.0, 0.0])


def test_a_calibration_and_coefficients():
    with pytest.raises(OptionError, match=r"--teacache-coefficients 1\.0,0\.0 and --teacache-calibration flux1-dev"):
        check(DEV, thresh=0.5, calibration="flux1-dev", coefficients=[1.0, 0.0])


def test_a_calibration_of_another_model():
    check(DEV, calibration="flux1-krea-dev")
    check(UNKNOWN, calibration="flux1-dev")


def test_a_calibration_that_does_not_exist():
    with pytest.raises(OptionError, match="no calibration 'flux9'"):
        check(DEV, calibration="flux9")


@pytest.mark.parametrize(
    ("steps", "keywords", "message"),
    [
        (2, {}, r"first 1 step and the last 1 step, .* of 2 active steps\. It takes at least 3 "),
        (1, {"skip_first": 0, "skip_last": 0}, r"first 1 step, .* of 1 active step\. It takes at least 2 "),
        (6, {"skip_first": 4, "skip_last": 2}, r"first 4 steps and the last 2 steps, .* at least 7 "),
        (3, {"skip_first": 0.4, "skip_last": 0.3}, r"first 0\.4 of the run and the last 0\.3 of .* at least 5 "),
        (None, {"skip_first": 0.5, "skip_last": 0.5}, "nothing to skip, however many steps there are"),
        (50, {"skip_first": 0.5, "skip_last": 0.5}, "nothing to skip, however many steps there are"),
    ],
)
def test_a_run_that_is_shorter_than_its_windows(steps, keywords, message):
    with pytest.raises(Refused, match=message):
        check(DEV, steps=steps, **keywords)


def test_the_number_that_would_do_does():
    check(DEV, steps=5, skip_first=0.4, skip_last=0.3)
    check(DEV, steps=7, skip_first=4, skip_last=2)


# --- warnings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "keywords"),
    [
        (DEV, {}),
        (replace(DEV, model_path=DEV.model), {}),
        (KONTEXT, {}),
        (DEV, {"thresh": 0.0}),  # never skipping on purpose
        (DEV, {"thresh": 0.19}),
        (UNKNOWN, {"thresh": 0.01, "coefficients": [1.0, 0.0]}),
    ],
)
def test_what_passes_without_a_word(target, keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attached(target, **keywords)


def test_a_pipeline_without_a_calibration_of_its_own_is_told_which_one_it_gets():
    with pytest.warns(PluginWarning, match=r"no calibration of Flux1Fill on .*Fill-dev; it uses flux1-dev") as caught:
        attached(FILL)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "changes", [{"model_path": "/models/mine"}, {"loras": ("style.safetensors", "more.safetensors")}]
)
def test_a_checkpoint_or_lora_is_told_that_the_calibration_was_made_without(changes):
    with pytest.warns(PluginWarning, match=r"flux1-dev was made on .*dev as published, without .*(mine|style.*, more)"):
        attached(replace(DEV, **changes))


def test_a_named_calibration_of_another_model_is_told_too():
    with pytest.warns(
        PluginWarning, match=r"no calibration of ErnieImage on .*; it uses flux1-dev, made with Flux1 on"
    ):
        attached(UNKNOWN, calibration="flux1-dev")


@pytest.mark.parametrize(
    ("target", "keywords", "message"),
    [
        (DEV, {"thresh": 0.1}, r"-thresh 0\.1 will skip nothing: .* flux1-dev predicts is 0\.18.*default is 0\.2"),
        (KLEIN, {"thresh": 0.3}, r"flux2-klein-4b predicts is 0\.424\. Use a threshold above that\.$"),
        (UNKNOWN, {"thresh": 0.5, "coefficients": [0.5]}, r"by hand predicts is 0\.5\."),
    ],
)
def test_a_threshold_that_can_never_skip(target, keywords, message):
    with pytest.warns(PluginWarning, match=message) as caught:
        attached(target, **keywords)
    assert len(caught) == 1


def test_a_default_that_can_never_skip_is_not_recommended(own_file):
    with pytest.warns(PluginWarning, match=r"predicts is 0\.5\. Use a threshold above that\.$"):
        attached(calibration=own_file(polynomial=[0.5], threshold=0.3))


# --- metadata ----------------------------------------------------------------------------------------------------


def test_metadata_is_what_the_image_was_made_with():
    recorded = attached(KONTEXT).mflux_image_metadata(generation(28))
    assert json.loads(json.dumps(recorded, allow_nan=False)) == {
        "calibration": "flux1-kontext-dev",
        "coefficients": [-1046.55119, 312.563399, -16.9500694, 0.410995971, 0.0374537863],
        "range": [0.0, 0.18258884631278],
        "threshold": 0.22,
        "max_computed": None,
        "skip_first": 6,
        "skip_last": 3,
        "max_skips": 8,
        "forecast": 0,
        "cache_dtype": None,
    }


def test_metadata_without_limits_is_json():
    recorded = attached(DEV).mflux_image_metadata(generation(25))
    assert json.dumps(recorded["range"], allow_nan=False) == "[0.0, null]"
