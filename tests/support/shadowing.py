"""Shadow runs of tiny models, and what is recorded of them."""

from __future__ import annotations

from typing import Any

import cases_flux
from tiny_models import generate

from mflux_teacache.attachment import Request, attach_requests
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import Loaded, load

STEPS = 6


def shadow(case: str, photo: Any, *others: Request, steps: int = STEPS, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The latents of a shadow run, and what is recorded of it."""
    model, arguments = cases_flux.CASES[case].make(photo)
    loaded = load("shadow")
    images: list[Any] = []
    attach_requests(model, [Request(loaded, from_keywords(loaded, options)), *others])
    generate_image = model.generate_image
    model.generate_image = lambda **given: images.append(generate_image(**given))
    latents = generate(model, num_inference_steps=steps, **arguments)
    return latents, images[0]._get_metadata()["mflux_plugins"]


def observing(plugin: type) -> Request:
    loaded = Loaded("observer", plugin)
    return Request(loaded, from_keywords(loaded, {}))


def values(recorded: dict[str, Any]) -> dict[str, Any]:
    return recorded["plugins"]["shadow"]["values"]
