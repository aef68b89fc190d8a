"""What is recorded with an image: enough to bring the run back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mflux_teacache.image_record import keys, steps
from mflux_teacache.messages import warn_kept
from mflux_teacache.options import as_json
from mflux_teacache.pieces.input_files import levels, parse_json
from mflux_teacache.records import Generation
from mflux_teacache.spelling import described

if TYPE_CHECKING:
    from mflux_teacache.plugins import PluginSet, Request

# Characters that one plugin may record, since they go into each image and its sidecar.
LARGEST = 2**20

# A replay records what it takes over about the deciding plugin again, with each image. Our plugins record 1 kB.
MOST_RECORDED = 64_000
MOST_LEVELS = 16


def record_in(
    image: Any,
    plugins: PluginSet,
    requests: Sequence[Request],
    generation: Generation,
    values: Mapping[str, Any],
    *,
    compile_blocks: bool,
) -> None:
    """Add to the metadata of mflux's ``GeneratedImage``: plugins, their options, who decided, and what."""
    if not hasattr(image, "_get_metadata") or keys.ENTRY in image._get_metadata():
        return  # not an image of mflux's, or already recorded by an inner call of generate_image
    entry = _entry(plugins, requests, generation, values, compile_blocks=compile_blocks)
    if hasattr(image, "generation_parameters"):
        image.generation_parameters = {**image.generation_parameters, keys.ENTRY: entry}
    else:  # images of mflux up to 0.20 have no place for further parameters
        image.__class__ = _recording(type(image), entry)


def _entry(
    plugins: PluginSet,
    requests: Sequence[Request],
    generation: Generation,
    values: Mapping[str, Any],
    *,
    compile_blocks: bool,
) -> dict[str, Any]:
    recorded = {request.plugin.name: _of_plugin(request, values.get(request.plugin.name)) for request in requests}
    decided = recorded.get(plugins.decider or "", {})
    # Only what a replay would take over has the smaller limit, so that what is written here can always be read back.
    if keys.FORECAST in decided.get(keys.VALUES, {}) and (much := too_much(decided)) is not None:
        warn_kept(f"plugin {plugins.decider!r}: what is recorded of it must be {much}. Its values are not recorded.")
        decided[keys.VALUES] = {}
    partly = {str(record.index): record.branches for record in generation.records if record.decision == "partial"}
    return {
        keys.SCHEMA: keys.SCHEMA_NUMBER,
        keys.PATTERN: generation.stats.pattern,
        keys.DECIDER: plugins.decider,
        keys.RESIDUAL_AFTER: plugins.residual_after,
        keys.PLUGINS: recorded,
        **({keys.COMPILE_BLOCKS: True} if compile_blocks else {}),
        **({keys.PARTLY: partly} if partly else {}),
        **({keys.STEPS: numbers} if (numbers := steps.as_json(generation.records)) else {}),
    }


def too_much(value: dict[str, Any]) -> str | None:
    """What a stranger's JSON must be for a replay to take it over, after "it must be"; ``None`` if it is that."""
    if (found := levels(value)) > MOST_LEVELS:
        return f"nested at most {MOST_LEVELS} levels deep, and has {found}"
    if (size := len(json.dumps(value))) > MOST_RECORDED:
        return f"at most {MOST_RECORDED} characters of JSON, and has {size}"
    return None


def _of_plugin(request: Request, values: Any) -> dict[str, Any]:
    plugin = request.plugin
    return {
        keys.PACKAGE: plugin.package,
        keys.VERSION: plugin.version,
        keys.OPTIONS: as_json(request.options),
        keys.VALUES: _as_json(plugin.name, values),
    }


def _recording(cls: type[Any], entry: dict[str, Any]) -> type:
    """A subclass of mflux's ``GeneratedImage`` that has an entry in its metadata, and in those of its right half."""

    def _get_metadata(image: Any) -> dict[str, Any]:
        return {**cls._get_metadata(image), keys.ENTRY: entry}

    def get_right_half(image: Any) -> Any:
        half = cls.get_right_half(image)
        half.__class__ = type(image)
        return half

    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), {**names, "_get_metadata": _get_metadata, "get_right_half": get_right_half})


def _as_json(plugin: str, values: Any) -> Any:
    """A plugin's values as JSON; empty, with a warning, if they cannot be recorded."""
    if values is None:
        return {}
    # With a value that is not JSON, mflux would write the image without any metadata at all.
    try:
        # Nested as deep as in the sidecar, so that the indents count too.
        text = json.dumps([[[[dict(values)]]]], allow_nan=False, indent=4)
        [[[[checked]]]] = parse_json(text)
    except Exception as error:  # noqa: BLE001 - a mapping of the plugin's own may raise anything
        problem = f"values that are not JSON ({described(error)})"
    else:
        if len(text) <= LARGEST:
            return checked
        problem = f"{len(text)} characters of JSON, and {LARGEST} are allowed"
    warn_kept(f"plugin {plugin!r}: mflux_image_metadata gave {problem}. They are not recorded.")
    return {}
