"""Which preset is taken for a run, and what is said of the differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from preset_files import KEY, PROVENANCE, preset

from mflux_teacache.presets.nearest import can_be_used, differences, nearest
from mflux_teacache.presets.preset import PresetKey, called, is_name, key_of
from mflux_teacache.records import Target

TARGET = Target(
    pipeline="Flux1",
    model="black-forest-labs/FLUX.1-dev",
    quantize=8,
    loras=("/home/me/loras/style.safetensors",),
    lora_scales=(0.8,),
    steps=10,
    active_steps=10,
    guidance=3.5,
    width=1024,
    height=1024,
    scheduler="LinearScheduler",
)


def test_the_key_of_a_run() -> None:
    assert key_of(TARGET) == KEY
    image = replace(TARGET, active_steps=6, model_path="/models/mine-q8", base_model=TARGET.model)
    assert key_of(image) == replace(KEY, model="mine-q8", base_model=TARGET.model, image_input=True)


@pytest.mark.parametrize("name", ["model", "steps", "active_steps", "guidance", "width", "height"])
def test_a_run_that_is_not_known_yet_has_no_key(name: str) -> None:
    assert key_of(replace(TARGET, **{name: None})) is None


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("owner/name", "owner/name"),
        ("name", "name"),
        ("/models/mine", "mine"),
        ("./mine", "mine"),
        ("~/models/mine/", "mine"),
        ("a/b/c", "c"),
    ],
)
def test_a_model_s_name_is_no_path(model: str, name: str) -> None:
    assert called(model) == name
    assert is_name(name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"width": 832, "height": 1216}, []),
        ({"scheduler": None}, []),
        ({"loras": {}}, ["style.safetensors at 0.8 in place of no LoRA"]),
        ({"bits": None}, ["8 bits in place of no quantisation"]),
        ({"guidance": 1.0}, ["guidance 3.5 in place of guidance 1"]),
        ({"scheduler": "Other"}, ["LinearScheduler in place of Other"]),
        ({"width": 512, "height": 512}, ["1024x1024 pixels in place of 512x512 pixels"]),
        ({"steps": 20, "bits": 4}, ["8 bits in place of 4 bits", "10 steps in place of 20 steps"]),
    ],
)
def test_what_is_said(changes: dict[str, Any], said: list[str]) -> None:
    run = replace(KEY, **changes)
    found = nearest([preset()], run)
    assert found is not None
    assert list(found.differences) == said


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"base_model": "other"},
        {"pipeline": "Flux1Fill"},
        {"image_input": True},
        {"steps": 21},
        {"steps": 4},
    ],
)
def test_what_a_preset_says_nothing_about(changes: dict[str, Any]) -> None:
    assert nearest([preset(key=replace(KEY, base_model="base"))], replace(KEY, **changes)) is None


def test_the_weights_count_more_than_the_schedule() -> None:
    made = {
        "lora": replace(KEY, loras={}),
        "bits": replace(KEY, bits=4),
        "steps": replace(KEY, steps=14),
        "nearer": replace(KEY, steps=12),
        "size": replace(KEY, width=512, height=512),
        "exact": KEY,
    }
    presets = {name: preset(name, key=key) for name, key in made.items()}
    order = []
    while found := nearest(presets.values(), KEY):
        order.append(found.preset.name)
        del presets[found.preset.name]
    assert order == ["exact", "size", "nearer", "steps", "bits", "lora"]


def test_among_equals_the_latest() -> None:
    days = ("2026-11-26", "2026-11-28", "2026-11-27")
    made = [preset(day, provenance=replace(PROVENANCE, made=day)) for day in days]
    found = nearest(made, KEY)
    assert found is not None
    assert found.preset.name == "2026-11-28"


KEYS = some.builds(
    PresetKey,
    model=some.sampled_from("ab"),
    pipeline=some.sampled_from("pq"),
    width=some.sampled_from((512, 768, 1024)),
    height=some.just(1024),
    steps=some.integers(1, 50),
    guidance=some.sampled_from((1.0, 3.5)),
    base_model=some.sampled_from((None, "x", "y")),
    bits=some.sampled_from((None, 4, 8)),
    loras=some.sampled_from(({}, {"l": 1.0})),
    image_input=some.booleans(),
    scheduler=some.sampled_from((None, "S", "T")),
)


@given(keys=some.lists(KEYS, max_size=8), run=KEYS)
def test_nothing_of_another_model_and_no_difference_unsaid(keys: list[PresetKey], run: PresetKey) -> None:
    found = nearest([preset(f"p{place}", key=key) for place, key in enumerate(keys)], run)
    assert (found is None) == (not any(can_be_used(key, run) for key in keys))
    if found is not None:
        made = found.preset.key
        assert (made.model, made.pipeline, made.image_input) == (run.model, run.pipeline, run.image_input)
        said = differences(made, run)
        for name, label in (("loras", "LoRAs"), ("bits", "bits"), ("guidance", "guidance"), ("steps", "steps")):
            assert (getattr(made, name) != getattr(run, name)) == (label in said)
        assert len(found.differences) == len(said)
