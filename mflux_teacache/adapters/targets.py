"""What plugins are about to run on, read from a pipeline, its class, or the arguments of ``generate_image``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from mflux_teacache.adapters.models import is_distilled
from mflux_teacache.adapters.pipelines import PIPELINES, pipeline_of
from mflux_teacache.records import Target


def of_class(cls: type, arguments: Mapping[str, Any]) -> Target:
    """From a pipeline class and the arguments of its ``__init__``: before any weights load."""
    return _with_config(
        Target(
            pipeline=cls.__name__,
            family=pipeline_of(cls).family,
            model_path=_text(arguments.get("model_path")),
            loras=_texts(arguments.get("lora_paths")),
            lora_scales=_numbers(arguments.get("lora_scales")),
            quantize=arguments.get("quantize"),
        ),
        arguments.get("model_config"),
    )


def of_model(model: Any, family: str) -> Target:
    """From a loaded pipeline object."""
    return _with_config(
        Target(
            pipeline=type(model).__name__,
            family=family,
            loras=_texts(getattr(model, "lora_paths", None)),
            lora_scales=_numbers(getattr(model, "lora_scales", None)),
            quantize=getattr(model, "bits", None),
        ),
        getattr(model, "model_config", None),
    )


def for_image(target: Target, arguments: Mapping[str, Any]) -> Target:
    """The same target with what the arguments of ``generate_image``, or of the command line, say of one image.

    Values that are not known yet, such as a size to be taken from an input image, stay ``None``.
    """
    pipeline = PIPELINES.get(target.pipeline)
    steps = _number(arguments.get("num_inference_steps"))
    if pipeline is not None and pipeline.own_steps and target.distilled:
        steps = None
    idle_steps = 0 if pipeline is None else pipeline.idle_steps
    guidance = arguments.get("guidance")
    return replace(
        target,
        steps=steps,
        active_steps=None if steps is None else steps - _first_step(steps, arguments) - idle_steps,
        guidance=float(guidance) if isinstance(guidance, int | float) else None,
        width=_number(arguments.get("width")),
        height=_number(arguments.get("height")),
    )


def _first_step(steps: int, arguments: Mapping[str, Any]) -> int:
    """Where image-to-image starts in the schedule; mflux's own rule on mflux's own names."""
    from mflux.models.common.config.config import Config

    path = arguments.get("image_path") or next(iter(arguments.get("image_paths") or ()), None)
    config = SimpleNamespace(_image_path=path, _image_strength=_image_strength(arguments), _num_inference_steps=steps)
    return int(Config.init_time_step.fget(config))


def _image_strength(arguments: Mapping[str, Any]) -> Any:
    """How much of the schedule the input image stands for: 1 less ``strength``, where a pipeline asks that way."""
    strength = arguments.get("strength")
    return arguments.get("image_strength") if strength is None or strength >= 1 else 1 - strength


def _with_config(target: Target, config: Any) -> Target:
    if config is None:
        return target
    return replace(
        target,
        model=config.model_name,
        base_model=getattr(config, "base_model", None),
        distilled=is_distilled(config),
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values or ())


def _numbers(values: Any) -> tuple[float, ...]:
    """None of them, where one is something else."""
    numbers = tuple(value for value in values or () if isinstance(value, int | float))
    return tuple(map(float, numbers)) if len(numbers) == len(values or ()) else ()
