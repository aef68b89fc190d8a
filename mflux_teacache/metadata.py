"""What is recorded with an image, under one key of mflux's metadata: enough to bring the run back."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mflux_teacache.errors import PluginWarning
from mflux_teacache.options import as_json
from mflux_teacache.records import Generation

if TYPE_CHECKING:
    from mflux_teacache.attachment import Request
    from mflux_teacache.plugins import PluginSet

KEY = "mflux_plugins"
SCHEMA = 1


def record(
    image: Any, plugins: PluginSet, requests: Sequence[Request], generation: Generation, values: Mapping[str, Any]
) -> None:
    """Add to the metadata of mflux's ``GeneratedImage``: plugins, their options, who decided, and what.

    Checked here to be JSON, since mflux writes an image without any metadata where a value is not.
    """
    parameters = getattr(image, "generation_parameters", None)
    if not isinstance(parameters, dict) or KEY in parameters:
        return  # not an image of mflux's, or recorded by the generate_image call that this one made
    entry = {
        "schema": SCHEMA,
        "pattern": generation.stats.pattern,
        "decider": plugins.decider,
        "residual_after": plugins.residual_after,
        "plugins": {
            request.plugin.name: {
                "package": request.plugin.package,
                "version": request.plugin.version,
                "options": as_json(request.options),
                "values": _checked(request.plugin.name, values.get(request.plugin.name)),
            }
            for request in requests
        },
    }
    image.generation_parameters = {**parameters, KEY: entry}


def _checked(plugin: str, values: Any) -> Any:
    if values is None:
        return {}
    try:
        return json.loads(json.dumps(dict(values), allow_nan=False))
    except (TypeError, ValueError) as error:
        warnings.warn(
            f"plugin {plugin!r}: mflux_image_metadata gave values that are not JSON ({error}). They are not recorded.",
            PluginWarning,
            stacklevel=2,
        )
        return {}
