"""The recorder: a polynomial that is known, what it leaves out, and a calibration that ``teacache`` takes."""

import json
import math
import os
import random
import sys
from dataclasses import replace
from itertools import accumulate, pairwise

import mlx.core as mx
import pytest
from scripted import DEV, Plugin, body_branch, level

from mflux_teacache import PluginWarning, Refused
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Target
from mflux_teacache.teacache.calibration import load
from mflux_teacache.teacache.plugin import TeaCache, evaluate
from mflux_teacache.teacache.recorder import TeaCacheRecord

POLYNOMIAL = (2.0, -1.0, 0.5, 0.25, 0.125)
STEPS = 21  # 20 changes: just enough
RATES = [0.02 * place for place in range(1, STEPS)]


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


def test_it_holds_what_it_was_fitted_to(path):
    plugin = attached(path)
    record(plugin)
    record(plugin)
    changes = load(path).changes
    assert [signal for signal, _ in changes] == pytest.approx([*RATES, *RATES], rel=1e-4)
    assert [residual for _, residual in changes[:20]] == pytest.approx(
        [evaluate(POLYNOMIAL, rate) for rate in RATES], rel=1e-3
    )


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
    signals, residuals = (
        [mx.concatenate([level(value, 2), level(100.0 * index, 1)], axis=1) for index, value in enumerate(values)]
        for values in (grown(RATES), grown([rate / 2 for rate in RATES]))
    )
    attached(path).watch([[body_branch(residual)] for residual in residuals], signals=signals, target_rows=2)
    assert load(path).polynomial == pytest.approx((0, 0, 0, 0.5, 0), abs=1e-3)


def test_teacache_takes_it(path):
    record(attached(path))
    run = Plugin("teacache", TeaCache, calibration=str(path)).run(
        8, signals=[level(value) for value in grown([0.2] * 7)]
    )
    assert evaluate(POLYNOMIAL, 0.2) < load(path).threshold < 2 * evaluate(POLYNOMIAL, 0.2)
    assert run.pattern == "CSCSCSCC"


def test_few_changes_wait_for_more_images(path, capsys):
    """What is missing is said once, and is no warning: the run may go on."""
    plugin = attached(path)
    record(plugin, RATES[:7])
    assert capsys.readouterr().out == (
        "teacache-record: nothing written yet: a fit takes 20 changes from step to step, and this run has 7 so far. "
        "It takes 2 images more, such as with --seed 1 2 3; or more steps.\n"
    )
    record(plugin, RATES[7:14])
    assert capsys.readouterr().out == ""
    assert not path.exists()
    record(plugin, RATES[13:])
    assert load(path).polynomial == pytest.approx(POLYNOMIAL, abs=1e-3)
    assert capsys.readouterr().out.startswith(f"teacache-record: wrote {path}, fitted to 3 images: it predicts images ")


def test_it_says_that_it_wrote_and_how_good_the_fit_is(path, capsys):
    plugin = attached(path)
    record(plugin)
    assert capsys.readouterr().out == (
        f"teacache-record: wrote {path}, fitted to 1 image: it predicts its own images, and no others, with R2 1. "
        f"More images in one run show how it does on others.\n"
    )
    record(plugin)
    assert capsys.readouterr().out == (
        f"teacache-record: wrote {path}, fitted to 2 images: it predicts images that it was not fitted on with R2 1.\n"
    )


def noise(plugin, seed):
    """An image of which the signal predicts nothing."""
    chance = random.Random(seed)
    rates = [chance.uniform(0.01, 0.3) for _ in range(STEPS - 1)]
    residuals = grown([chance.uniform(0.01, 0.3) for _ in rates])
    plugin.run(STEPS, signals=[level(value) for value in grown(rates)], computes=lambda step, branch: residuals[step])


def test_a_poor_fit_is_said_when_it_is_written_and_when_it_is_used(path, capsys):
    plugin = attached(path)
    for seed in (1, 2, 3):
        noise(plugin, seed)
    held_out = load(path).r2_held_out
    assert held_out < 0
    *_, line = capsys.readouterr().out.splitlines()
    with pytest.warns(PluginWarning) as caught:
        Plugin("teacache", TeaCache, calibration=str(path))
    [warned] = caught
    poor = str(warned.message).removeprefix("TeaCache's calibration flux.1-dev-recorded ")
    assert f" R2 {held_out:.3g}, which is poor" in poor
    assert line == f"teacache-record: wrote {path}, fitted to 3 images: it {poor}"


def with_loras(**loras):
    return replace(
        DEV, loras=tuple(f"/home/me/{name}.safetensors" for name in loras), lora_scales=tuple(loras.values())
    )


def test_the_loras_are_recorded_and_the_same_ones_pass_without_a_word(path):
    record(attached(path, with_loras(style=0.8, light=1.0)))
    assert load(path).loras == {"style.safetensors": 0.8, "light.safetensors": 1.0}
    moved = replace(DEV, loras=("light.safetensors", "other/style.safetensors"), lora_scales=(1.0, 0.8))
    Plugin("teacache", TeaCache, moved, calibration=str(path))


@pytest.mark.parametrize(
    ("loras", "here"),
    [
        ({}, "no LoRA"),
        ({"style": 0.5}, "style.safetensors at 0.5"),
        ({"other": 0.8}, "other.safetensors at 0.8"),
        ({"style": 0.8, "more": 1.0}, "style.safetensors at 0.8 and more.safetensors at 1"),
    ],
)
def test_other_loras_are_told_apart(path, loras, here):
    record(attached(path, with_loras(style=0.8)))
    with pytest.warns(PluginWarning) as caught:
        Plugin("teacache", TeaCache, with_loras(**loras), calibration=str(path))
    assert [str(warning.message) for warning in caught] == [
        f"TeaCache's calibration flux.1-dev-recorded was made on {DEV.model} with style.safetensors at 0.8, and this "
        f"is a run with {here}. Compare an image with one of a full run before you rely on it, or give "
        f"--teacache-calibration a file of your own, which --plugin teacache-record makes."
    ]


def test_recorded_without_a_lora_it_is_not_for_one(path):
    record(attached(path))
    assert load(path).loras == {}
    with pytest.warns(PluginWarning, match=r"with no LoRA, and this is a run with style\.safetensors at 1\. "):
        Plugin("teacache", TeaCache, with_loras(style=1.0), calibration=str(path))


def test_a_file_of_before_counts_as_published(path):
    record(attached(path))
    content = json.loads(path.read_text())
    del content["loras"]
    path.write_text(json.dumps(content))
    Plugin("teacache", TeaCache, calibration=str(path))
    with pytest.warns(PluginWarning, match=r"as published, without /home/me/style\.safetensors\. "):
        Plugin("teacache", TeaCache, with_loras(style=1.0), calibration=str(path))


def test_a_full_disk_costs_neither_the_image_nor_the_file_before(path, monkeypatch):
    plugin = attached(path)
    record(plugin)
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.warns(PluginWarning) as caught:
        record(plugin)
    [warned] = caught
    assert str(warned.message).startswith(f"teacache-record has written nothing: --teacache-record-output is {path}, ")
    assert "No space left" in str(warned.message)
    assert path.read_bytes() == before


@pytest.mark.parametrize("closed", [True, False])
def test_what_it_says_costs_nothing_where_nobody_can_read_it(path, monkeypatch, closed):
    stream = open("/dev/full", "w")  # noqa: SIM115
    if closed:
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    record(attached(path))
    monkeypatch.undo()
    assert load(path).r2 == pytest.approx(1, abs=1e-3)
    if not closed:
        with pytest.raises(OSError, match="No space left"):
            stream.close()


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
    bodies = [[body_branch(level(1.0))] * 2, [body_branch(level(1.0))]]
    with pytest.warns(PluginWarning, match="has another shape"):
        attached(path).watch(bodies, signals=[level(1.0)] * 2)


def test_a_run_with_skipped_steps_is_left_out(path):
    bodies = [[body_branch(level(1.0), reused=reused)] for reused in (False, True)]
    with pytest.warns(PluginWarning, match="a step was skipped"):
        attached(path).watch(bodies, signals=[level(1.0), level(2.0)])


def test_an_interrupted_image_is_forgotten(path):
    plugin = attached(path)
    record(plugin, status="interrupted")
    assert not path.exists()
    assert plugin.instance._images == {}


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


def test_changes_that_are_all_alike_leave_nothing_to_explain(path, capsys):
    """A share of no variance is no number, and a file with NaN is none that ``teacache`` takes."""
    plugin = attached(path)
    signals = [level(value) for value in grown(RATES)]
    plugin.run(STEPS, signals=signals, computes=lambda step, branch: 2.0**step)
    assert load(path).r2 is None
    assert "fitted to 1 image, whose changes are all alike: it says nothing of others." in capsys.readouterr().out


def test_a_signal_that_changes_alike_has_no_polynomial(path):
    plugin = attached(path)
    signals = [level(2.0**step) for step in range(STEPS)]
    with pytest.warns(PluginWarning, match="written nothing: the number of different changes of its signal is 1, and"):
        plugin.run(STEPS, signals=signals, computes=lambda step, branch: 1.5**step)
    assert not path.exists()


def test_an_image_of_one_step_has_no_change(path):
    plugin = attached(path)
    with pytest.warns(PluginWarning, match="leaves out image 1: it has one step, and a calibration is of the changes"):
        plugin.run(1, signals=[level(1.0)])


@pytest.mark.parametrize("distilled", [False, True])
def test_a_distilled_models_calibration_says_so(path, distilled):
    record(attached(path, Target(pipeline="Flux1", distilled=distilled)))
    assert load(path).distilled == distilled
