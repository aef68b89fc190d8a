"""Whether figures that were made on one model fit another: for calibrations, tables and the like. No mlx."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

from mflux_teacache.records import Target


def distance(
    target: Target, *, model: str, pipelines: Collection[str], stand_in_for: Collection[str] = ()
) -> int | None:
    """How far off a target is: 0 = this model on this pipeline; ``None`` = made for another model.

    The model itself is nearer than one that it stands in for, and both are nearer than a checkpoint
    that is only based on them; of equals, the same pipeline is nearer.

    Args:
        target: what the figures are to be used on.
        model: Hugging Face id of the model that they were made on.
        pipelines: class names of the mflux pipelines that they were made with.
        stand_in_for: ids of models that share its transformer and have no figures of their own.
    """
    for offset, candidate in ((0, target.model), (4, target.base_model)):
        if candidate == model or candidate in stand_in_for:
            return offset + 2 * (candidate != model) + (target.pipeline not in pipelines)
    return None


def loras_of(target: Target) -> dict[str, float]:
    """A target's LoRAs: what they are called wherever they lie, and their scales. They add up, so order is nothing."""
    scales = (*target.lora_scales, *(1.0 for _ in target.loras))
    found: defaultdict[str, float] = defaultdict(float)
    for lora, scale in zip(target.loras, scales, strict=False):
        found[_called(lora)] += scale
    return dict(found)


def spelt(loras: Mapping[str, float]) -> str:
    """For messages: ``style.safetensors at 0.8 and light.safetensors at 1``."""
    return " and ".join(f"{name} at {scale:g}" for name, scale in loras.items()) or "no LoRA"


def _called(lora: str) -> str:
    """The name of its file; in Hugging Face's cache with the repository, since many call their file alike."""
    path = Path(lora)
    repository = next((part for part in path.parts if part.startswith("models--")), "")
    return "/".join((*repository.split("--")[1:], path.name))
