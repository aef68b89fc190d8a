"""Which settings are found for a run, in which order, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from preset_files import EVIDENCE, KEY, SETTINGS, preset

from mflux_teacache.presets.preset import Preset, Setting
from mflux_teacache.records import Target
from mflux_teacache.strategies.auto.sources import NOT_MEASURED, Choice, Run, choices
from mflux_teacache.strategies.schedule import budgeted
from mflux_teacache.strategies.schedule.config import Config

TARGET = Target(
    pipeline=KEY.pipeline,
    model=KEY.model,
    quantize=KEY.bits,
    loras=("/loras/style.safetensors",),
    lora_scales=(0.8,),
    steps=10,
    active_steps=10,
    guidance=KEY.guidance,
    width=1024,
    height=1024,
)
UNKNOWN = replace(TARGET, model="me/mine")


def found(target: Target, computed: int, *presets: Preset, active: int = 10, **more: Any) -> list[Choice]:
    return [*choices(Run(target, active, computed, **more), presets)]


def test_the_order() -> None:
    sources = [(choice.source, choice.plugin) for choice in found(TARGET, 4, preset(), sees_picture=True)]
    assert sources == [("preset", "schedule"), ("published", "schedule"), ("rule", "sea"), ("rule", "schedule")]
    assert [choice.source for choice in found(UNKNOWN, 4, preset())] == ["rule"]


def test_a_preset_for_this_very_run() -> None:
    first = found(TARGET, 4, preset())[0]
    assert first.options == SETTINGS[0].options
    assert first.warning == ""
    assert str(first) == (
        "schedule reuse=output forecast=2: preset mine, measured on 4 images: 31.5 dB in the mean, 27.0 dB at worst"
    )


def test_a_preset_of_one_image_that_fewer_steps_beat() -> None:
    evidence = replace(EVIDENCE, images=1, psnr_mean=30.8, psnr_worst=30.8, fewer_steps_psnr=30.9)
    first = found(TARGET, 4, preset(settings=(replace(SETTINGS[0], evidence=evidence),)))[0]
    assert str(first).endswith("preset mine, measured on 1 image: 30.8 dB, where fewer steps have 30.9 dB")


def test_the_setting_with_the_nearest_budget() -> None:
    first = found(TARGET, 7, preset())[0]
    assert (first.plugin, first.options["max_computed"]) == ("teacache", 7)
    assert str(first) == (
        "teacache coefficients=1.0,0.0 forecast=1: preset mine, not checked by images, at 6 of 10 steps"
    )


def test_what_differs_is_said() -> None:
    first = found(replace(TARGET, quantize=4, loras=()), 4, preset())[0]
    assert first.warning == (
        "auto takes its setting from the preset mine, which was made with style.safetensors at 0.8 in place of no LoRA "
        "and 8 bits in place of 4 bits. Compare an image with one of a full run before you rely on it, or make a "
        "preset of this run's own: mflux-teacache tune."
    )
    assert str(first).endswith(", with style.safetensors at 0.8 in place of no LoRA and 8 bits in place of 4 bits")


def test_the_plan_of_another_pipeline_or_with_a_lora_is_said() -> None:
    plain = replace(TARGET, loras=(), lora_scales=())
    assert [str(choice) for choice in found(plain, 5)] == [
        "schedule reuse=output: plan flux1-dev, published",
        f"schedule reuse=output: {NOT_MEASURED}",
    ]
    with_lora = found(TARGET, 5)[0]
    assert "was made on black-forest-labs/FLUX.1-dev as published, without /loras/" in with_lora.warning
    assert str(with_lora).endswith("plan flux1-dev, published, for another run")


@pytest.mark.parametrize(
    ("active", "computed", "reuse"),
    [
        (9, 6, {"reuse": "body", "forecast": 0}),
        (30, 9, {"reuse": "output"}),
        (30, 8, {"reuse": "output", "forecast": 1}),
    ],
)
def test_what_is_reused_where_nobody_has_measured_it(active: int, computed: int, reuse: dict[str, Any]) -> None:
    assert found(UNKNOWN, computed, active=active)[0].options == {**reuse, "max_computed": computed}


def plan(choice: Choice, active: int) -> str:
    config = Config(max_computed=choice.options["max_computed"], own=choice.lists)
    return config.plan(budgeted.Run(active, active)).letters


def test_a_list_is_carried_over_to_another_budget() -> None:
    made = preset(
        settings=(
            SETTINGS[0],
            Setting(plugin="schedule", options={**SETTINGS[0].options, "pattern": "CCCSCSCSSC"}, computed=6, steps=10),
        )
    )
    first = found(TARGET, 5, made)[0]
    assert first.lists is not None
    assert [listed.computed for listed in first.lists.lists] == [(0, 1, 4, 9), (0, 1, 2, 4, 6, 9)]
    assert plan(first, 10) == "CCSCSCSSSC"


def test_lists_with_other_options_and_without_their_last_step() -> None:
    patterns = {"CCSSCSSSSS": {}, "CCSCSCSSSC": {"forecast": 1}}
    settings = tuple(
        Setting(plugin="schedule", options={"pattern": pattern, **more}, computed=pattern.count("C"), steps=10)
        for pattern, more in patterns.items()
    )
    first = found(TARGET, 4, preset(settings=settings[:1], sigmas=tuple(1 - step / 10 for step in range(10))))[0]
    assert first.lists is not None
    [listed] = first.lists.lists
    assert listed.computed == (0, 1, 4, 9)
    assert listed.levels is not None
    both = found(TARGET, 5, preset(settings=settings), fixed=False)[0]
    assert both.lists is not None
    assert [listed.computed for listed in both.lists.lists] == [(0, 1, 3, 5, 9)]


def test_a_list_whose_last_step_is_added_does_not_stand_for_one_that_has_it() -> None:
    patterns = ("CCCCSSSSSS", "CSCSSCSSCC")
    settings = tuple(
        Setting(plugin="schedule", options={"pattern": pattern}, computed=pattern.count("C"), steps=10)
        for pattern in patterns
    )
    first = found(TARGET, 5, preset(settings=settings), fixed=False)[0]
    assert first.lists is not None
    assert [listed.computed for listed in first.lists.lists] == [(0, 2, 5, 8, 9)]
    assert plan(first, 10) == "CSCSSCSSCC"


def test_where_the_clock_decides_no_step_is_named_beforehand() -> None:
    first = found(TARGET, 4, preset(), fixed=False)[0]
    assert "pattern" not in first.options
    assert plan(first, 10) == "CCSSCSSSSC"


@given(active=some.integers(5, 20), data=some.data())
def test_every_choice_is_of_the_budget(active: int, data: some.DataObject) -> None:
    computed = data.draw(some.integers(2, active - 1))
    target = replace(TARGET, steps=active, active_steps=active)
    for choice in found(target, computed, preset(), active=active, sees_picture=True):
        if choice.plugin == "schedule" and "pattern" in choice.options:
            assert choice.options["pattern"].count("C") == computed
        elif choice.plugin == "schedule":
            assert plan(choice, active).count("C") == computed
        else:
            assert choice.options["max_computed"] == computed
