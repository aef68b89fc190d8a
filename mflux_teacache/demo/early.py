"""Lets a plugin refuse before the seconds, or minutes, that a model takes to load and a plain image to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mflux_teacache import options
from mflux_teacache.adapters.pipelines import for_image, of_class
from mflux_teacache.plugins import Loaded, PluginSet, Request, check_all


def refuse_early(
    plugin: Loaded, keywords: Mapping[str, Any], pipeline: type, made_with: Mapping[str, Any], image: Mapping[str, Any]
) -> None:
    """Args:
        keywords: the plugin's options, as for ``attach``.
        pipeline: mflux's class.
        made_with: the arguments that it will be made with.
        image: the arguments of ``generate_image``.

    Raises:
        Refused: the plugin does not run on the model, or not with so many steps, or an option is missing or wrong.
    """
    request = Request(plugin, options.from_keywords(plugin, keywords))
    check_all(PluginSet([plugin]), [request], for_image(of_class(pipeline, made_with), image))
