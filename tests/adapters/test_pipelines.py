"""What plugins are told of a model, before and after its weights load."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from installed import MFLUX
from mflux.models.common.config.model_config import AVAILABLE_MODELS, ModelConfig
from mflux.models.flux.variants.txt2img.flux import Flux1
from mflux.models.flux2.variants.edit.flux2_klein_edit import Flux2KleinEdit

from mflux_teacache import Target
from mflux_teacache.adapters.pipelines import DISTILLED, for_image, is_distilled, of_class, of_model


def test_before_the_weights() -> None:
    arguments = {
        "model_config": ModelConfig.dev(),
        "model_path": Path("mine"),
        "lora_paths": ["style"],
        "quantize": 8,
    }
    assert of_class(Flux1, arguments) == Target(
        pipeline="Flux1",
        family="flux",
        model="black-forest-labs/FLUX.1-dev",
        model_path="mine",
        loras=("style",),
        quantize=8,
    )
    assert of_class(Flux2KleinEdit, {"model_config": None}) == Target(pipeline="Flux2KleinEdit", family="flux2")


def test_of_a_loaded_model(tiny: None) -> None:
    model = tiny_models.flux2(config=ModelConfig.flux2_klein_9b())
    model.bits, model.lora_paths = 4, ["a", "b"]
    assert of_model(model, "flux2") == Target(
        pipeline="Flux2Klein",
        family="flux2",
        model="black-forest-labs/FLUX.2-klein-9B",
        loras=("a", "b"),
        quantize=4,
        distilled=True,
    )


def test_scales_of_loras(tiny: None) -> None:
    arguments = {"lora_paths": ["style", "light"], "lora_scales": [0.5, 2]}
    before = of_class(Flux1, {"model_config": ModelConfig.dev(), **arguments})
    assert (before.loras, before.lora_scales) == (("style", "light"), (0.5, 2.0))
    model = tiny_models.flux2()
    model.lora_paths, model.lora_scales = ["style"], [0.8]
    assert of_model(model, "flux2").lora_scales == (0.8,)


@pytest.mark.parametrize(
    ("arguments", "active"),
    [
        ({}, 10),
        ({"image_path": "photo.png"}, 10),
        ({"image_path": "photo.png", "image_strength": 0.0}, 10),
        ({"image_path": "photo.png", "image_strength": 0.01}, 9),
        ({"image_path": "photo.png", "image_strength": 0.35}, 7),
        ({"image_path": "photo.png", "image_strength": 1.0}, 0),
        ({"image_paths": ["photo.png"], "image_strength": 0.35}, 7),
        ({"image_strength": 0.35}, 10),
        ({"image_paths": ["photo.png"], "strength": 0.65}, 7),
        ({"image_paths": ["photo.png"], "strength": 1.0}, 10),
    ],
)
def test_active_steps_are_mflux_s(arguments: dict[str, object], active: int) -> None:
    target = for_image(Target(pipeline="Flux1"), {"num_inference_steps": 10, **arguments})
    assert (target.steps, target.active_steps) == (10, active)


def test_what_is_not_known_yet_is_none() -> None:
    target = for_image(Target(pipeline="Flux1"), {"guidance": None, "width": "auto", "height": 64})
    assert (target.steps, target.active_steps, target.guidance) == (None, None, None)
    assert (target.width, target.height) == (None, 64)


def test_distilled_models_are_named_as_mflux_names_them() -> None:
    assert {name for name, config in AVAILABLE_MODELS.items() if is_distilled(config)} == DISTILLED & set(
        AVAILABLE_MODELS
    )
    assert (set(AVAILABLE_MODELS) >= DISTILLED) == (MFLUX >= (0, 24))
