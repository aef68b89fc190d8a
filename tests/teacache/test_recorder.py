"""The recorder: a polynomial that is known, what it leaves out, and a calibration that ``teacache`` takes."""

import math
from itertools import accumulate, pairwise

import mlx.core as mx
import pytest
import scripted
from scripted import DEV, Plugin, Script, generation, level

from mflux_teacache import Body, PluginWarning, Refused, Step
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import BodyBranch, Target
from mflux_teacache.teacache.calibration import load
from mflux_teacache.teacache.plugin import TeaCache
from mflux_teacache.teacache.policy import evaluate
from mflux_teacache.teacache.recorder import TeaCacheRecord

POLYNOMIAL = (2.0, -1.0, 0.5, 0.25, 0.125)
STEPS = 21  # 20 changes: just enough
RATES = [0.02 * place for place in range(1, STEPS)]


class Signals(Script):
    def modulated_input(self):
        return self._signal


@pytest.fixture(autouse=True)
def _signals(monkeypatch):
    monkeypatch.setattr(scripted, "Script", Signals)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.json"


def attached(path, target=DEV):
    return Plugin("teacache-record", TeaCacheRecord, target, output=str(path))


def grown(rates):
    return list(accumulate(rates, lambda value, rate: value * (1 + rate), initial=1.0))


def record(plugin, rates=RATES, moved=0.0, **more):
    """An image whose signal grows by these rates, and its residual by what the polynomial makes of them."""
    residuals = grown([evaluate(POLYNOMIAL, rate) + moved for rate in rates])
    signals = [level(value) for value in grown(rates)]
    return plugin.run(len(signals), signals=signals, computes=lambda step, branch: residuals[step], **more)


def test_the_polynomial_between_the_changes_is_found(path):
    record(attached(path))
    found = load(path)
    assert found.polynomial == pytest.approx(POLYNOMIAL, abs=1e-3)
    assert found.range == pytest.approx((RATES[0], RATES[-1]), abs=1e-5)
    assert (found.r2, found.r2_held_out) == (pytest.approx(1, abs=1e-3), None)
    assert found.threshold == pytest.approx(1.5 * sum(evaluate(POLYNOMIAL, rate) for rate in RATES) / 20, abs=1e-3)


def test_it_says_how_it_came_about(path):
    record(attached(path))
    found = load(path)
    assert (found.name, found.model, found.pipelines) == ("flux.1-dev-recorded", DEV.model, ("Flux1",))
    assert (found.steps, found.guidance, found.quantize, found.size) == (STEPS, 4.0, 16, "16x16")
    assert (found.prompts, found.distilled) == ((), False)  # the prompt was empty
    assert found.source.startswith("recorded by teacache-record with mflux 0.")


def test_a_branch_counts_as_much_as_the_other(path):
    plugin = attached(path)
    signals = [level(value) for value in grown(RATES)]
    plugin.run(STEPS, branches=2, signals=signals, computes=lambda step, branch: grown(RATES)[step] if branch else 1.0)
    assert load(path).polynomial == pytest.approx((0, 0, 0, 0.5, 0), abs=1e-3)


def test_all_images_are_fitted_and_each_is_predicted_from_the_others(path):
    plugin = attached(path)
    record(plugin)
    record(plugin, moved=0.1)
    found = load(path)
    assert evaluate(found.polynomial, 0.2) == pytest.approx(evaluate(POLYNOMIAL, 0.2) + 0.05, abs=1e-3)
    assert found.r2_held_out < found.r2 < 1
    assert found.note.startswith("Fitted to 2 images")


def test_only_the_image_being_made_counts(path):
    plugin, image = attached(path), generation(STEPS, target_rows=2)
    plugin.call("mflux_generation_start", generation=image)
    for index, (signal, residual) in enumerate(zip(grown(RATES), grown([rate / 2 for rate in RATES]), strict=True)):
        rows = [mx.concatenate([level(value, 2), level(100.0 * index, 1)], axis=1) for value in (signal, residual)]
        step = Step(index, image, 1, Signals(None, rows[0], None))
        plugin.call("mflux_post_transformer", step=step, body=Body((BodyBranch(None, None, rows[1], False),)))
    image.status = "finished"
    plugin.call("mflux_generation_end", generation=image)
    assert load(path).polynomial == pytest.approx((0, 0, 0, 0.5, 0), abs=1e-3)


def test_teacache_takes_it(path):
    record(attached(path))
    run = Plugin("teacache", TeaCache, calibration=str(path)).run(
        8, signals=[level(value) for value in grown([0.2] * 7)]
    )
    assert evaluate(POLYNOMIAL, 0.2) < load(path).threshold < 2 * evaluate(POLYNOMIAL, 0.2)
    assert run.pattern == "CSCSCSCC"


def test_few_changes_wait_for_more_images(path):
    plugin = attached(path)
    with pytest.warns(PluginWarning, match="has 10 changes from step to step and needs 20 .* make more images"):
        record(plugin, RATES[:10])
    assert not path.exists()
    record(plugin, RATES[10:])
    assert load(path).polynomial == pytest.approx(POLYNOMIAL, abs=1e-3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"active": 11}, "it ran 11 of 21 steps, and a calibration is of whole runs"),
        ({"moved": math.nan}, "or is zero or not finite"),
    ],
)
def test_an_image_that_tells_nothing_is_left_out(path, more, message):
    with pytest.warns(PluginWarning, match=f"teacache-record leaves out image 1: .*{message}"):
        record(attached(path), **more)
    assert not path.exists()


def test_branches_that_come_or_go_tell_nothing(path):
    plugin, image = attached(path), generation(2)
    plugin.call("mflux_generation_start", generation=image)
    for index in range(2):
        step = Step(index, image, 1, Signals(None, level(1.0), None))
        branch = BodyBranch(None, None, level(1.0), False)
        plugin.call("mflux_post_transformer", step=step, body=Body((branch,) * (2 - index)))
    image.status = "finished"
    with pytest.warns(PluginWarning, match="has another shape"):
        plugin.call("mflux_generation_end", generation=image)


def test_a_run_with_skipped_steps_is_left_out(path):
    plugin, image = attached(path), generation(2)
    plugin.call("mflux_generation_start", generation=image)
    for index, reused in enumerate([False, True]):
        step = Step(index, image, 1, Signals(None, level(1.0 + index), None))
        plugin.call("mflux_post_transformer", step=step, body=Body((BodyBranch(None, None, level(1.0), reused),)))
    image.status = "finished"
    with pytest.warns(PluginWarning, match="a step was skipped"):
        plugin.call("mflux_generation_end", generation=image)


def test_an_interrupted_image_is_forgotten(path):
    plugin = attached(path)
    record(plugin, status="interrupted")
    assert not path.exists()
    assert plugin.instance._image.now == ()


def test_where_it_may_write(tmp_path):
    plugin = Loaded("teacache-record", TeaCacheRecord)
    for output, problem in ((tmp_path / "mine.txt", "must end in"), (tmp_path / "nowhere" / "mine.json", "no folder")):
        with pytest.raises(Refused, match=f"--teacache-record-output is .*{problem}"):
            TeaCacheRecord().mflux_check(from_keywords(plugin, {"output": output}))
    TeaCacheRecord().mflux_check(from_keywords(plugin, {"output": tmp_path / "mine.json"}))


def test_a_model_without_a_name(path):
    record(attached(path, Target(pipeline="Flux1", quantize=8)))
    assert (load(path).model, load(path).quantize) == ("unknown", 8)


def test_rates_are_what_relative_l1_makes_of_the_signal():
    assert [b / a - 1 for a, b in pairwise(grown(RATES))] == pytest.approx(RATES)


def test_runs_of_other_lengths_are_left_out(path):
    """With fewer steps each goes further: no one polynomial fits both."""
    plugin = attached(path)
    record(plugin)
    with pytest.warns(PluginWarning, match="leaves out image 1: it has 11 steps, and the ones before have 21"):
        record(plugin, RATES[:10])
    assert load(path).note.startswith("Fitted to 1 image. The threshold")


def test_changes_that_are_all_alike_leave_nothing_to_explain(path):
    """A share of no variance is no number, and a file with NaN is none that ``teacache`` takes."""
    plugin = attached(path)
    signals = [level(value) for value in grown(RATES)]
    plugin.run(STEPS, signals=signals, computes=lambda step, branch: 2.0**step)
    assert load(path).r2 is None


@pytest.mark.parametrize("distilled", [False, True])
def test_a_distilled_models_calibration_says_so(path, distilled):
    record(attached(path, Target(pipeline="Flux1", distilled=distilled)))
    assert load(path).distilled == distilled
