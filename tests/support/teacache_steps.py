"""TeaCache on scripted steps, of which change and residual can be worked out by eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
from scripted import DEV, Image, Plugin, level

from mflux_teacache.options import Options, from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.records import Target
from mflux_teacache.teacache.plugin import TeaCache

PLUGIN = Loaded("teacache", TeaCache)

FILL = Target(pipeline="Flux1Fill", model="black-forest-labs/FLUX.1-Fill-dev")
KONTEXT = Target(pipeline="Flux1Kontext", model="black-forest-labs/FLUX.1-Kontext-dev")
KLEIN = Target(pipeline="Flux2Klein", model="black-forest-labs/FLUX.2-klein-4B")
UNKNOWN = Target(pipeline="ErnieImage", model="baidu/ERNIE-Image")
LENS = Target(pipeline="LensImage", model="Comfy-Org/Lens", distilled=True)

# The change itself is the prediction.
IDENTITY = {"coefficients": [1.0, 0.0]}

# Changes: 0.25, 0.2, 0.333, 0.25, 0
LEVELS = [level(value) for value in (1.0, 1.25, 1.5, 2.0, 2.5, 2.5)]


def options(**keywords: Any) -> Options:
    return from_keywords(PLUGIN, keywords)


def attached(target: Target = DEV, **keywords: Any) -> Plugin:
    return Plugin("teacache", TeaCache, target, **keywords)


def check(target: Target, steps: int | None = None, **keywords: Any) -> None:
    TeaCache().mflux_check(options(**keywords), replace(target, active_steps=steps))


def run(plugin: Plugin, signals: Sequence[mx.array], **arguments: Any) -> Image:
    """All steps of one image."""
    return plugin.run(len(signals), signals=signals, **arguments)
