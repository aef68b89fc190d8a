"""``auto`` on a model that runs in milliseconds."""

from __future__ import annotations

from typing import Any

from dreams import Brings, Dreams
from tiny_models import generate

from mflux_teacache.attachment import Request, attach_requests
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import Loaded, load
from mflux_teacache.presets.preset import PresetKey, Setting
from mflux_teacache.records import GenerationStats, Target
from mflux_teacache.strategies.auto import plugin as auto

MODEL = "me/dreams"
KEY = PresetKey(model=MODEL, pipeline="Dreams", width=64, height=64, steps=12, guidance=1.0)
PATTERN = "CCSCSSCSSSSC"
OWN = Setting(plugin="schedule", options={"pattern": PATTERN, "reuse": "output"}, computed=5, steps=12)
DEV = Target(pipeline="Flux1", model=MODEL, steps=12, active_steps=12)


class Auto(auto.Auto, Brings):
    """With the family of the model, which is a third party's."""


def made(
    model: Dreams, steps: int = 12, images: int = 1, side: int = 64, **options: Any
) -> tuple[list[GenerationStats], list[Any]]:
    """The stats of images, and what is recorded of each."""
    values: list[Any] = []
    plugin = Loaded("auto", Auto)
    request = Request(plugin, from_keywords(plugin, options))
    with attach_requests(model, [request], lambda _, recorded: values.append(recorded["auto"])) as handle:
        for seed in range(images):
            generate(model, num_inference_steps=steps, seed=seed, height=side, width=side)
    return handle.stats.history, values


def check(target: Target, **options: Any) -> None:
    loaded = load("auto")
    auto.Auto().mflux_check(from_keywords(loaded, options), target)
