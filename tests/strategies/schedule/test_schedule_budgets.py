"""Budgets of the schedule: a plan of so many computed steps, from the model's lists, a file, or the general rule."""

import json
import math
import warnings
from dataclasses import replace

import all_cases
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import DEV, Plugin, generation
from tiny_models import generate

from mflux_teacache import attach
from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.options import from_keywords
from mflux_teacache.pieces.patterns import even
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Target
from mflux_teacache.strategies.schedule.budgeted import Run
from mflux_teacache.strategies.schedule.config import Config
from mflux_teacache.strategies.schedule.lists import shipped
from mflux_teacache.strategies.schedule.plans import shifted
from mflux_teacache.strategies.schedule.plugin import Schedule

PLUGIN = Loaded("schedule", Schedule)
OTHER = Target(pipeline="Fibo2", model="briaai/FIBO-2")
FLUX = shipped()["flux1-dev"]


def check(steps=None, target=DEV, **keywords):
    Schedule().mflux_check(from_keywords(PLUGIN, keywords), replace(target, steps=steps, active_steps=steps))


def write(path, *lists):
    head = {"schema": 1, "name": "mine", "model": "me/mine", "pipelines": ["Flux1"]}
    path.write_text(json.dumps({**head, "lists": [{"computed": steps, "steps": steps[-1] + 1} for steps in lists]}))
    return str(path)


def letters(computed, total):
    return "".join("C" if step in computed else "S" for step in range(total))


@given(st.integers(3, 120), st.floats(1, 40), st.sampled_from([FLUX, None]), st.booleans())
def test_a_speed_up_computes_that_share_rounded_down(total, speedup, lists, known):
    speedup = round(speedup, 2)
    run = Run(total, total, shifted(total, 1.15) if known else None)
    config, computed = Config(speedup=speedup, own=lists), math.floor(total / speedup + 1e-9)
    if not 2 <= computed < total:
        with pytest.raises(Refused, match="--schedule-speedup "):
            config.plan(run)
        return
    plan = config.plan(run).letters
    assert (len(plan), plan.count("C")) == (total, computed)
    assert plan[0] == plan[-1] == "C"


def test_half_of_28_steps():
    for target in (DEV, OTHER):
        image = Plugin("schedule", Schedule, target, speedup=2).run(28)
        assert image.pattern.count("C") == 14
        assert set(image.reasons) == {"as scheduled"}


def test_a_published_list_is_followed_and_recorded():
    plugin = Plugin("schedule", Schedule, max_computed=13)
    assert plugin.run(50).pattern == letters((0, 1, 2, 3, 4, 6, 8, 10, 14, 19, 30, 43, 49), 50)
    [listed] = [listed for listed in FLUX.lists if len(listed.computed) == 13]
    assert plugin.call("mflux_image_metadata", generation=generation(50)) == {
        "plan": "flux1-dev",
        "plan_lists": [{"list": "13 of 50", "source": listed.source}],
        "forecast": 2,
        "reuse": "output",
        "cache_dtype": None,
    }


def test_above_the_largest_list_it_is_mixed_with_every_step():
    plugin = Plugin("schedule", Schedule, max_computed=33)
    pattern = plugin.run(50).pattern
    assert pattern == "CCCCCCCCCCCSCCSCSCSCSCSCSCSCSSCSCSCSSCSCSCCSCCCCCC"
    values = plugin.call("mflux_image_metadata", generation=generation(50))
    assert [listed["list"] for listed in values["plan_lists"]] == ["26 of 50"]


def test_the_run_s_noise_levels_are_what_counts():
    """Without a shift fewer steps are as noisy as the list's first ones: all of those are computed."""
    plugin = Plugin("schedule", Schedule, max_computed=21)
    patterns = []
    for shift in (1.15, 0.0):
        image = replace(generation(50), sigmas=tuple(shifted(50, shift)))
        plugin.call("mflux_generation_start", generation=image)
        patterns.append(plugin.instance._plan.letters)
    assert patterns[0] == plugin.run(50).pattern
    assert patterns[1] == letters((*range(11), 12, 14, 16, 20, 24, 29, 35, 41, 45, 49), 50)


def test_noise_levels_that_do_not_fall_count_for_nothing():
    config = Config(max_computed=13, own=FLUX)
    known = config.plan(Run(50, 50)).letters
    for sigmas in ([0.5] * 50, shifted(50, 1.15)[::-1], [math.nan] * 50):
        assert config.plan(Run(50, 50, sigmas)).letters == known


def test_a_late_start_takes_the_end_of_a_list():
    plugin = Plugin("schedule", Schedule, max_computed=4)
    # Of 21 computed steps the last four are 30, 38, 46 and 49, and of 13 the last three 30, 43 and 49.
    assert plugin.run(50, active=20).pattern == letters((0, 8, 16, 19), 20)


def test_a_model_without_lists_has_the_general_rule():
    plugin = Plugin("schedule", Schedule, OTHER, max_computed=9)
    assert plugin.run(28).pattern == letters(even(28, 9), 28)
    assert plugin.call("mflux_image_metadata", generation=generation(28))["plan"] == "even"


def test_another_model_s_lists_can_be_named():
    with pytest.warns(PluginWarning, match="no plan of Fibo2 on briaai/FIBO-2; it uses flux1-dev, made with Flux1"):
        plugin = Plugin("schedule", Schedule, OTHER, max_computed=13, plan="flux1-dev")
    assert plugin.run(50).pattern == Plugin("schedule", Schedule, max_computed=13).run(50).pattern


def test_only_lists_that_are_used_are_warned_of():
    with_lora = replace(DEV, loras=("style.safetensors",))
    with pytest.warns(PluginWarning, match="plan flux1-dev was made on .* as published, without style.safetensors"):
        Plugin("schedule", Schedule, with_lora, speedup=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Plugin("schedule", Schedule, with_lora, every=2)


def test_a_file_with_one_list_needs_no_budget(tmp_path):
    file = write(tmp_path / "mine.json", [0, 1, 4, 7])
    with pytest.warns(PluginWarning, match="has no plan of Flux1 on black-forest-labs/FLUX.1-dev; it uses mine"):
        plugin = Plugin("schedule", Schedule, plan=file)
    assert plugin.run(8).pattern == "CCSSCSSC"
    # Half of another number of steps.
    assert plugin.run(16).pattern == "CSCSCSSSCSSSCSSC"[:0] + plugin.run(16).pattern
    assert plugin.run(16).pattern.count("C") == 8
    # It is read once.
    (tmp_path / "mine.json").unlink()
    assert plugin.run(8).pattern == "CCSSCSSC"


def test_a_file_with_several_lists_needs_a_budget(tmp_path):
    file = write(tmp_path / "mine.json", [0, 1, 7], [0, 1, 2, 4, 7])
    with pytest.raises(
        OptionError,
        match=r"--schedule-plan mine has lists of 3, 5 computed steps\. Say which with --schedule-max-computed or ",
    ):
        check(plan=file)
    with pytest.warns(PluginWarning):
        plugin = Plugin("schedule", Schedule, plan=file, max_computed=5)
    assert plugin.run(8).pattern == "CCCSCSSC"


@pytest.mark.parametrize("way", [{"every": 2}, {"ratio": 0.5}, {"pattern": "CSC"}])
def test_a_plan_is_for_budgets(way):
    with pytest.raises(OptionError, match=r"says itself which steps are computed, and --schedule-plan flux1-dev says"):
        check(plan="flux1-dev", **way)


@pytest.mark.parametrize("budget", [{"speedup": 2.0}, {"max_computed": 9}])
@pytest.mark.parametrize("way", [{"every": 2}, {"ratio": 0.5}, {"pattern": "CSC"}, {"speedup": 3.0, "max_computed": 3}])
def test_a_budget_excludes_the_other_ways(budget, way):
    with pytest.raises(OptionError, match=r"not allowed with argument --schedule-"):
        from_keywords(PLUGIN, budget | way)


@pytest.mark.parametrize(
    ("keywords", "steps", "message"),
    [
        (
            {"max_computed": 28},
            28,
            r"^--schedule-max-computed 28 asks to compute 28 of 28 active steps .*; a plan computes from 2, the first "
            r"and the last, to 27\. Use .* a --schedule-speedup above 1 and up to 14\.$",
        ),
        ({"max_computed": 40}, 28, "asks to compute 40 of 28 active steps"),
        ({"speedup": 15.0}, 28, r"^--schedule-speedup 15 asks to compute 1 of 28 active steps"),
        ({"speedup": 1.0}, 28, r"^--schedule-speedup 1 asks to compute 28 of 28 active steps"),
        ({"speedup": 2.0}, 5, None),
        ({"speedup": 1.5}, 2, r"leaves nothing to skip of 2 active steps .*: a plan computes the first and the last\."),
        ({"speedup": 1.5}, 1, r"leaves nothing to skip of 1 active step "),
    ],
)
@pytest.mark.parametrize("target", [DEV, OTHER])
def test_budgets_that_no_plan_meets_are_refused_once_the_steps_are_known(keywords, steps, message, target):
    check(target=target, **keywords)
    if message is None:
        check(steps, target, **keywords)
        return
    with pytest.raises(Refused, match=message):
        check(steps, target, **keywords)


def test_a_file_that_is_none_is_refused_before_the_weights_load(tmp_path):
    with pytest.raises(OptionError, match=r"The schedule cannot read the plan .*none\.json: "):
        check(plan=str(tmp_path / "none.json"), speedup=2)
    with pytest.raises(OptionError, match=r"The schedule has no plan 'dev'\. It has: flux1-dev, qwen-image, "):
        check(plan="dev", speedup=2)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("case", "active"), [("flux1-dev", 14), ("flux1-img2img", 9)])
def test_on_a_model_a_plan_goes_by_the_noise_of_its_steps(case, active, photo):
    model, arguments = all_cases.cases_of("cases_flux")[case].make(photo)
    with attach(model, "schedule", max_computed=6) as handle:
        generate(model, **{**arguments, "num_inference_steps": 14})
    image = handle.stats.history[0]
    sigmas = [record.sigma for record in image.decisions]
    expected = Config(max_computed=6, own=FLUX).plan(Run(active, 14, sigmas)).letters
    assert image.pattern == expected
    assert expected != Config(max_computed=6, own=FLUX).plan(Run(active, 14)).letters
