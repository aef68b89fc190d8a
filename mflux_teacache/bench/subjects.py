"""The model that is measured: the demo's, one with random weights, or a real checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from mflux.models.common.config.model_config import AVAILABLE_MODELS, ModelConfig
from mflux.models.fibo.variants.txt2img.fibo import FIBO
from mflux.models.flux.variants.txt2img.flux import Flux1
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein
from mflux.models.qwen.variants.txt2img.qwen_image import QwenImage
from mflux.models.z_image.variants.z_image import ZImage
from mflux.utils.exceptions import ModelConfigError

from mflux_teacache.bench import random_models
from mflux_teacache.bench.settings import Settings
from mflux_teacache.demo import model as demo
from mflux_teacache.demo.run import PROMPT as DEMO_PROMPT
from mflux_teacache.errors import UnsupportedModel

PROMPT = "a red apple on a wooden table beside a window, in the soft light of an early autumn morning"
# FIBO takes prompts as JSON only.
JSON_PROMPT = f'{{"short_description": "{PROMPT}"}}'
SIDE = 1024

_PIPELINES: dict[type, tuple[str, ...]] = {
    Flux1: ("dev", "krea-dev", "schnell"),
    Flux2Klein: ("flux2-klein-base-4b", "flux2-klein-base-9b", "flux2-klein-4b", "flux2-klein-9b"),
    QwenImage: ("qwen-image",),
    ZImage: ("z-image", "z-image-turbo"),
    FIBO: ("fibo", "fibo-lite"),
}
_GUIDANCE = {Flux1: 3.5, Flux2Klein: 4.0, QwenImage: 4.0, ZImage: 4.0, FIBO: 5.0}
_UNGUIDED = frozenset({"schnell", "flux2-klein-4b", "flux2-klein-9b", "z-image-turbo", "fibo-lite"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model that can be loaded.

    Attributes:
        name: for people.
        pipeline: mflux's class.
        config: mflux's model config.
        load: gives the loaded pipeline, for as long as its context lasts.
        arguments: of ``generate_image``.
    """

    name: str
    pipeline: type
    config: ModelConfig
    load: Callable[[], AbstractContextManager[Any]]
    arguments: dict[str, Any]

    @property
    def title(self) -> str:
        """What is measured, for people."""
        image = self.arguments
        return (
            f"{self.name}: {image['num_inference_steps']} steps at {image['width']}x{image['height']}, "
            f"guidance {image['guidance']:g}"
        )


def subject_of(settings: Settings) -> Subject:
    """What the settings name; nothing is loaded yet.

    Raises:
        UnsupportedModel: mflux does not know the model, or the benchmark has no pipeline for it.
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
        arguments=_arguments(settings, prompt=DEMO_PROMPT, guidance=demo.GUIDANCE, side=demo.SIDE),
    )


def _random(settings: Settings, name: str) -> Subject:
    recipe = random_models.RECIPES[name]

    @contextlib.contextmanager
    def load() -> Iterator[Any]:
        yield random_models.build(name, quantize=settings.quantize, blocks=settings.blocks)

    shortened = "" if settings.blocks is None else f", at most {settings.blocks} blocks in a list"
    return Subject(
        name=f"{name}, random weights, {_spell_bits(settings)}{shortened}",
        pipeline=recipe.pipeline,
        config=recipe.config(),
        load=load,
        arguments=_usual(settings, recipe.pipeline, _GUIDANCE[recipe.pipeline]),
    )


def _checkpoint(settings: Settings, name: str) -> Subject:
    try:
        config = ModelConfig.from_name(name, settings.base_model)
    except ModelConfigError as error:
        raise UnsupportedModel(f"--model {name}: {error}") from error
    key = _key(config)
    known = {model: pipeline for pipeline, models in _PIPELINES.items() for model in models}
    if key not in known:
        raise UnsupportedModel(
            f"--model {name} is {key} to mflux, for which this benchmark has no pipeline. "
            f"It has one for: {', '.join(known)}, and for checkpoints that are based on these."
        )
    pipeline = known[key]

    @contextlib.contextmanager
    def load() -> Iterator[Any]:
        yield pipeline(quantize=settings.quantize, model_config=config)

    return Subject(
        name=f"{name}, {_spell_bits(settings)}",
        pipeline=pipeline,
        config=config,
        load=load,
        arguments=_usual(settings, pipeline, 1.0 if key in _UNGUIDED else _GUIDANCE[pipeline]),
    )


def _key(config: ModelConfig) -> str | None:
    """mflux's own name of the model, or of the one that a checkpoint is based on: they have the same aliases."""
    return next((key for key, known in AVAILABLE_MODELS.items() if known.aliases == config.aliases), None)


def _usual(settings: Settings, pipeline: type, guidance: float) -> dict[str, Any]:
    return _arguments(settings, prompt=JSON_PROMPT if pipeline is FIBO else PROMPT, guidance=guidance, side=SIDE)


def _arguments(settings: Settings, *, prompt: str, guidance: float, side: int) -> dict[str, Any]:
    return {
        "seed": settings.seed,
        "prompt": prompt if settings.prompt is None else settings.prompt,
        "num_inference_steps": settings.steps,
        "width": settings.width or side,
        "height": settings.height or side,
        "guidance": guidance if settings.guidance is None else settings.guidance,
    }


def _spell_bits(settings: Settings) -> str:
    return "bfloat16" if settings.quantize is None else f"{settings.quantize} bits"
