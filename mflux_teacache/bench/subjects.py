"""What is measured: the demo's model, one with random weights, or a real checkpoint, and an image of it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from mflux.models.common.config.model_config import AVAILABLE_MODELS, ModelConfig
from mflux.models.common.resolution.lora_resolution import LoraResolution
from mflux.models.fibo.variants.txt2img.fibo import FIBO
from mflux.models.flux.variants.txt2img.flux import Flux1
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein
from mflux.models.qwen.variants.txt2img.qwen_image import QwenImage
from mflux.models.z_image.variants.z_image import ZImage
from mflux.utils.exceptions import ModelConfigError

from mflux_teacache.adapters.pipelines import DISTILLED
from mflux_teacache.bench.needs import laboratory
from mflux_teacache.bench.settings import ImageSettings
from mflux_teacache.demo import model as demo
from mflux_teacache.demo.run import PROMPT as DEMO_PROMPT
from mflux_teacache.demo.sizes import SIDE as DEMO_SIDE
from mflux_teacache.errors import OptionError, UnsupportedModel
from mflux_teacache.messages import did_you_mean
from mflux_teacache.spelling import described

PROMPT = "a red apple on a wooden table beside a window, in the soft light of an early autumn morning"
# FIBO takes prompts as JSON only.
JSON_PROMPT = f'{{"short_description": "{PROMPT}"}}'
SIDE = 1024

# Of mflux's pipelines: the usual guidance, and its models by mflux's names.
_PIPELINES: dict[type, tuple[float, tuple[str, ...]]] = {
    Flux1: (3.5, ("dev", "krea-dev", "schnell")),
    Flux2Klein: (4.0, ("flux2-klein-base-4b", "flux2-klein-base-9b", "flux2-klein-4b", "flux2-klein-9b")),
    QwenImage: (4.0, ("qwen-image",)),
    ZImage: (4.0, ("z-image", "z-image-turbo")),
    FIBO: (5.0, ("fibo", "fibo-lite")),
}
MODELS = {model: pipeline for pipeline, (_, models) in _PIPELINES.items() for model in models}

# Packages whose errors tell that a model could not be had from its hub.
_DOWNLOADING = ("httpx", "httpcore", "huggingface_hub", "requests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model that can be loaded, and an image of it.

    Attributes:
        name: for people.
        pipeline: mflux's class.
        config: mflux's model config.
        load: gives the loaded pipeline, for as long as its context lasts.
        arguments: of ``generate_image``.
        files: the SHA-256 of the LoRAs and of the input image, by their names.
    """

    name: str
    pipeline: type
    config: ModelConfig
    load: Callable[[], AbstractContextManager[Any]]
    arguments: dict[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def takes_json(self) -> bool:
        """Prompts are JSON only."""
        return self.pipeline is FIBO

    @property
    def title(self) -> str:
        """What is measured, for people."""
        image = self.arguments
        return (
            f"{self.name}: {image['num_inference_steps']} steps at {image['width']}x{image['height']}, "
            f"guidance {image['guidance']:g}"
        )


def subject_of(settings: ImageSettings) -> Subject:
    """What the settings name; nothing is loaded yet.

    Raises:
        UnsupportedModel: mflux does not know the model, or the benchmark has no pipeline for it.
        Refused: random weights, in an installed package.
    """
    if settings.random_weights is not None:
        return _random(settings, settings.random_weights)
    if settings.model is not None:
        return _checkpoint(settings, settings.model)
    return Subject(
        name="the demo's tiny FLUX.2, float32",
        pipeline=demo.DemoKlein,
        config=demo.model_config(),
        load=demo.tiny_klein,
        arguments=_image(settings, demo.GUIDANCE, DEMO_PROMPT, DEMO_SIDE),
    )


def _random(settings: ImageSettings, name: str) -> Subject:
    random_models = laboratory("random_models", "--random-weights")
    recipe = random_models.RECIPES[name]
    shortened = "" if settings.blocks is None else f", at most {settings.blocks} blocks in a list"
    return Subject(
        name=f"{name}, random weights, {_spell_bits(settings)}{shortened}",
        pipeline=recipe.pipeline,
        config=recipe.config(),
        load=lambda: nullcontext(random_models.build(name, quantize=settings.quantize, blocks=settings.blocks)),
        arguments=_usual_image(settings, recipe.pipeline),
    )


def _checkpoint(settings: ImageSettings, name: str) -> Subject:
    try:
        config = ModelConfig.from_name(name, settings.base_model)
    except ModelConfigError as error:
        raise UnsupportedModel(_unknown(name, settings.base_model)) from error
    # mflux's own name of the model, or of the one that a checkpoint is based on: they have the same aliases.
    key = next((key for key, known in AVAILABLE_MODELS.items() if known.aliases == config.aliases), None)
    if key not in MODELS:
        raise UnsupportedModel(
            f"--model {name} is {key} to mflux, for which this benchmark has no pipeline. "
            f"It has one for: {', '.join(MODELS)}, and for checkpoints that are based on these."
        )
    pipeline: Any = MODELS[key]
    loras = _loras(settings, pipeline)
    return Subject(
        name=f"{name}, {_spell_bits(settings)}{_spell_loras(settings)}",
        pipeline=pipeline,
        config=config,
        load=lambda: nullcontext(_loaded(pipeline, name, quantize=settings.quantize, model_config=config, **loras)),
        arguments=_usual_image(settings, pipeline, distilled=key in DISTILLED),
        files={
            Path(file).name: _digest(file)
            for file in (*loras.get("lora_paths", ()), settings.image_path)
            if file is not None
        },
    )


def _loaded(pipeline: type, name: str, **arguments: Any) -> Any:
    """Raises ``UnsupportedModel``: its files are not there, and cannot be had."""
    try:
        return pipeline(**arguments)
    except OSError as error:
        said = " ".join(str(error).split())
        raise UnsupportedModel(f"--model {name} cannot be loaded: {said}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _DOWNLOADING:
            raise
        raise UnsupportedModel(
            f"--model {name} could not be downloaded: {described(error)}. Connect this machine to the network, or "
            f"give --model a folder that holds the model."
        ) from error


def _unknown(name: str, base: str | None) -> str:
    """Of a model that mflux does not know, or whose base it does not know."""
    known = ", ".join(MODELS)
    if base is not None:
        near = did_you_mean(base, MODELS)
        return f"--base-model {base} is not a name that mflux knows.{near} Name one of these: {known}."
    return (
        f"--model {name} is not a name that mflux knows, and does not tell what the model is based on."
        f"{did_you_mean(name, MODELS)} Check the spelling, or give --base-model with one of these: {known}."
    )


def _loras(settings: ImageSettings, pipeline: type) -> dict[str, Any]:
    """Arguments of a pipeline, with files that are there: like mflux's own commands, it downloads what is named."""
    if not settings.lora_paths:
        return {}
    if "lora_paths" not in inspect.signature(pipeline).parameters:
        raise UnsupportedModel(f"--lora-paths: mflux's {pipeline.__name__} takes no LoRAs. Leave them out.")
    return {
        "lora_paths": list(map(_lora_file, settings.lora_paths)),
        "lora_scales": list(settings.lora_scales or ()) or None,
    }


def _lora_file(path: str) -> str:
    try:
        file: str = LoraResolution.resolve(path)
        mx.load(file)  # its header alone
    except (OSError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"--lora-paths has {path}, which cannot be loaded: {described(error)}. It takes .safetensors files, and "
            f"the names that mflux knows."
        ) from error
    return file


def _digest(file: str) -> str:
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _spell_loras(settings: ImageSettings) -> str:
    paths = settings.lora_paths or ()
    scales = settings.lora_scales or (1.0,) * len(paths)
    return "".join(f", {Path(path).name} at {scale:g}" for path, scale in zip(paths, scales, strict=True))


def _usual_image(settings: ImageSettings, pipeline: type, *, distilled: bool = False) -> dict[str, Any]:
    """Distilled models are made to run without guidance."""
    guidance = 1.0 if distilled else _PIPELINES[pipeline][0]
    return _image(settings, guidance, JSON_PROMPT if pipeline is FIBO else PROMPT, SIDE)


def _image(settings: ImageSettings, guidance: float, prompt: str, side: int) -> dict[str, Any]:
    """Arguments of ``generate_image``: what is given, and else what is usual."""
    return {
        "seed": settings.seed,
        "prompt": prompt if settings.prompt is None else settings.prompt,
        "num_inference_steps": settings.steps,
        "width": settings.width or side,
        "height": settings.height or side,
        "guidance": guidance if settings.guidance is None else settings.guidance,
        **settings.image_arguments,
    }


def _spell_bits(settings: ImageSettings) -> str:
    return "bfloat16" if settings.quantize is None else f"{settings.quantize} bits"
