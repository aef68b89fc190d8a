"""Which model is measured, and how: nothing is loaded."""

from __future__ import annotations

import inspect

import pytest
from bench_runs import parsed

from mflux_teacache.bench import speed, subjects
from mflux_teacache.bench.settings import FAMILIES, ImageSettings
from mflux_teacache.demo.model import DemoKlein
from mflux_teacache.errors import UnsupportedModel


def settings(**values: object) -> ImageSettings:
    return ImageSettings(steps=3, **values)  # type: ignore[arg-type]


def test_the_demo_is_the_default() -> None:
    subject = subjects.subject_of(settings())
    assert subject.pipeline is DemoKlein
    assert (subject.arguments["width"], subject.arguments["guidance"]) == (192, 2.5)
    assert subject.title == "the demo's tiny FLUX.2, float32: 3 steps at 192x192, guidance 2.5"
    with subject.load() as model:
        assert model.model_config.model_name == subject.config.model_name == "mflux-teacache/demo-emoji"


@pytest.mark.parametrize("name", subjects.MODELS)
def test_each_checkpoint_has_its_pipeline(name: str) -> None:
    subject = subjects.subject_of(settings(model=name, quantize=8))
    assert name in subject.config.aliases
    inspect.signature(subject.pipeline).bind(quantize=8, model_config=subject.config)
    inspect.signature(subject.pipeline.generate_image).bind(None, **subject.arguments)
    assert subject.name == f"{name}, 8 bits"
    assert subject.arguments["width"] == subject.arguments["height"] == 1024


def test_a_checkpoint_of_ones_own_is_run_as_what_it_is_based_on() -> None:
    subject = subjects.subject_of(settings(model="someone/finetune", base_model="dev"))
    assert subject.pipeline.__name__ == "Flux1"
    assert subject.config.model_name == "someone/finetune"
    assert subject.name == "someone/finetune, bfloat16"


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_is_its_model_without_the_weights(name: str) -> None:
    subject = subjects.subject_of(settings(random_weights=name, blocks=2))
    real = subjects.subject_of(settings(model={"flux1-dev": "dev"}.get(name, name)))
    assert (subject.pipeline, subject.config, subject.arguments) == (real.pipeline, real.config, real.arguments)
    assert subject.name == f"{name}, random weights, bfloat16, at most 2 blocks in a list"


@pytest.mark.parametrize("name", ["schnell", "flux2-klein-4b", "z-image-turbo", "fibo-lite"])
def test_distilled_models_have_no_guidance(name: str) -> None:
    assert subjects.subject_of(settings(model=name)).arguments["guidance"] == 1.0


def test_what_is_given_wins() -> None:
    given = {"width": 64, "height": 32, "guidance": 7.0, "seed": 9, "prompt": "a cat"}
    arguments = subjects.subject_of(settings(random_weights="z-image", **given)).arguments
    assert arguments == {**given, "num_inference_steps": 3}


def test_models_that_there_is_no_pipeline_for() -> None:
    with pytest.raises(UnsupportedModel, match="--model seedvr2-3b is seedvr2-3b to mflux, for which this benchmark"):
        speed.run(parsed("--model", "seedvr2-3b"))
    with pytest.raises(UnsupportedModel, match="--model someone/something: Cannot infer base_model"):
        speed.run(parsed("--model", "someone/something"))
