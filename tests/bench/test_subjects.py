"""Which model is measured, and how: nothing is loaded."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any

import httpx
import mlx.core as mx
import pytest
from bench_runs import parsed
from mflux.cli.defaults import defaults as mflux_defaults

from mflux_teacache.bench import speed, subjects
from mflux_teacache.bench.settings import FAMILIES, ImageSettings
from mflux_teacache.demo.model import DemoKlein
from mflux_teacache.errors import OptionError, UnsupportedModel


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


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    path = tmp_path / "style.safetensors"
    mx.save_safetensors(str(path), {"a": mx.zeros((2, 2))})
    return path


def test_a_checkpoint_is_made_with_its_loras(lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Pipeline(subjects.Flux1):  # type: ignore[misc]
        def __init__(self, quantize: Any, model_config: Any, lora_paths: Any = None, lora_scales: Any = None) -> None:
            made.append({"quantize": quantize, "lora_paths": lora_paths, "lora_scales": lora_scales})

    monkeypatch.setitem(subjects.MODELS, "dev", Pipeline)
    monkeypatch.setitem(subjects._PIPELINES, Pipeline, subjects._PIPELINES[subjects.Flux1])
    chosen = settings(model="dev", quantize=8, lora_paths=(str(lora), str(lora)), lora_scales=(0.5, 1.0))
    subject = subjects.subject_of(chosen)
    assert subject.name == "dev, 8 bits, style.safetensors at 0.5, style.safetensors at 1"
    assert made == []
    with subject.load():
        assert made == [{"quantize": 8, "lora_paths": [str(lora)] * 2, "lora_scales": [0.5, 1.0]}]
    alone = subjects.subject_of(settings(model="dev", lora_paths=(str(lora),)))
    assert alone.name == "dev, bfloat16, style.safetensors at 1"
    with alone.load():
        assert made[1] == {"quantize": None, "lora_paths": [str(lora)], "lora_scales": None}
    with subjects.subject_of(settings(model="dev")).load():
        assert made[2] == {"quantize": None, "lora_paths": None, "lora_scales": None}


@pytest.mark.parametrize("name", subjects.MODELS)
def test_each_pipeline_takes_an_input_image(name: str, photo: Path) -> None:
    subject = subjects.subject_of(settings(model=name, image_path=str(photo)))
    assert subject.arguments["image_strength"] == mflux_defaults.IMAGE_STRENGTH
    inspect.signature(subject.pipeline.generate_image).bind(None, **subject.arguments)
    given = subjects.subject_of(settings(model=name, image_path=str(photo), image_strength=0.0))
    assert (given.arguments["image_path"], given.arguments["image_strength"]) == (str(photo), 0.0)


def test_files_are_known_by_what_is_in_them(lora: Path, photo: Path) -> None:
    def files() -> dict[str, str]:
        return dict(subjects.subject_of(settings(model="dev", lora_paths=(str(lora),), image_path=str(photo))).files)

    before = files()
    assert sorted(before) == ["photo.png", "style.safetensors"]
    assert before["photo.png"] == hashlib.sha256(photo.read_bytes()).hexdigest()
    mx.save_safetensors(str(lora), {"a": mx.ones((2, 2))})
    assert {name for name, digest in files().items() if digest != before[name]} == {"style.safetensors"}


def test_a_lora_that_is_none_is_refused(lora: Path) -> None:
    lora.write_bytes(b"not at all")
    with pytest.raises(OptionError, match=r"style\.safetensors, which cannot be loaded: RuntimeError: "):
        subjects.subject_of(settings(model="dev", lora_paths=(str(lora),)))


def test_a_model_whose_files_are_not_there_is_refused() -> None:
    subject = subjects.subject_of(settings(model="./my-dev"))
    with pytest.raises(
        UnsupportedModel, match=r"^--model \./my-dev cannot be loaded: Model not found: '\./my-dev'\. If "
    ):
        subject.load()


def test_a_model_that_cannot_be_downloaded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise httpx.ConnectError("Name or service not known")

    subject = subjects.subject_of(settings(model="dev"))
    monkeypatch.setattr(subject.pipeline, "__init__", unreachable)
    with pytest.raises(UnsupportedModel, match="--model dev could not be downloaded: ConnectError: Name or service"):
        subject.load()


def test_models_that_there_is_no_pipeline_for() -> None:
    with pytest.raises(UnsupportedModel, match="--model seedvr2-3b is seedvr2-3b to mflux, for which this benchmark"):
        speed.run(parsed("--model", "seedvr2-3b"))
    with pytest.raises(UnsupportedModel, match="--model someone/something is not a name that mflux knows"):
        speed.run(parsed("--model", "someone/something"))
