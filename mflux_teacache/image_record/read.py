"""The way back from what an image records: plugins with their options, and which steps were skipped.

Everything is checked, since a file may come from anywhere. It can name plugins, but only installed ones are ever
loaded, and it can never name a module.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from mflux_teacache.adapters.image_metadata import embedded
from mflux_teacache.errors import OptionError, PluginWarning
from mflux_teacache.image_record import keys
from mflux_teacache.image_record.write import too_much
from mflux_teacache.pieces.cache import CACHES, DTYPES, ResidualCache
from mflux_teacache.pieces.forecast import ORDERS
from mflux_teacache.pieces.input_files import (
    NotAFile,
    TooLarge,
    Unreadable,
    open_file,
    parse_json,
    read_text,
    read_text_with,
    reason,
)
from mflux_teacache.pieces.option_types import BOOLEAN, LONGEST_NAME, LONGEST_TEXT, Allowed
from mflux_teacache.plugins import our_own
from mflux_teacache.records import COMPUTED, REUSED, Target
from mflux_teacache.spelling import brief
from mflux_teacache.words import is_json

IMAGES = (".png", ".jpg", ".jpeg", ".webp")

# A sidecar has 1 to 20 kB. With a prompt as long as a book and a shadow run of a thousand steps, it has 1 MB.
MOST_BYTES = 4_000_000

# mflux reads a sidecar of any size. A file beyond this size cannot have been written as one.
_MOST_SEARCHED = 64 * 10**6

MOST_PLUGINS = 64

# No transformer of mflux has more than 60. How many a model really has is only known when it is built.
MOST_BLOCKS = 64

# mflux has at most three: with a prompt, without one, and with the reference images alone.
MOST_BRANCHES = 16

_OBJECT = Allowed(lambda value: isinstance(value, dict), "an object")
_PLUGINS = Allowed(
    lambda value: len(value) <= MOST_PLUGINS and all(len(name) <= LONGEST_NAME for name in value),
    f"at most {MOST_PLUGINS}, with names of at most {LONGEST_NAME} characters",
)
_PATTERN = Allowed(
    lambda value: isinstance(value, str) and set(value) <= set("CSP") and value[:1] in ("", "C"),
    "one C, S or P per step, the first of them C",
)
_BRANCHES = Allowed(
    lambda value: isinstance(value, str) and set(value) == {COMPUTED, REUSED} and len(value) <= MOST_BRANCHES,
    f"one C or S per branch, both of them, at most {MOST_BRANCHES}",
)
_RESIDUAL_AFTER = Allowed(
    lambda value: type(value) is int and 0 <= value <= MOST_BLOCKS, f"a whole number from 0 to {MOST_BLOCKS}"
)
_FORECAST = Allowed(lambda value: type(value) is int and value in ORDERS, f"one of {', '.join(map(str, ORDERS))}")
_REUSE = Allowed(lambda value: isinstance(value, str) and value in CACHES, f"one of {', '.join(CACHES)}")
_CACHE_DTYPE = Allowed(
    lambda value: value is None or (isinstance(value, str) and value in DTYPES), f"one of {', '.join(DTYPES)}, or null"
)
_OPTION = Allowed(is_json, "a text, a number, true, false, null, or a list of those")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Which steps a plugin skipped, and all that is needed to skip them again in the same way.

    Attributes:
        plugin: its name.
        model: the model that made the image, as mflux records it; ``None`` if the record does not say.
        pattern: one letter per step, C computed, S skipped and P partly reused; the first is C.
        partly: for each partly reused step, by its index, one letter per branch: C computed, S reused.
        residual_after: how many of the body's first blocks ran in every step.
        reuse: what was reused, ``body`` or ``output``.
        forecast: the order of its cache's forecast.
        cache_dtype: the dtype in which its cache kept wider arrays; ``None`` for the model's own.
        entry: what is recorded about the plugin: ``package``, ``version``, ``options``, ``values``.
    """

    plugin: str
    model: str | None
    pattern: str
    partly: Mapping[int, str]
    residual_after: int
    reuse: str
    forecast: int
    cache_dtype: str | None
    entry: dict[str, Any]

    def is_of_another(self, model: str | None) -> bool:
        """Whether the image is known to be of another model than this one, a ``Target.model``."""
        return self.model is not None and model not in (None, self.model)

    def has_other_steps(self, target: Target) -> bool:
        """Whether a run is known to have another number of steps."""
        return target.active_steps not in (None, len(self.pattern))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The plugins of an image.

    Attributes:
        options: each plugin's options, by its name, without those that were not given.
        decided: ``None`` if no plugin decided, or if its decisions cannot be repeated: its recorded values do not have
            the order of a forecast, or the version that wrote the image did not record who decided.
        compile_blocks: the model's blocks were compiled one by one.
    """

    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    decided: Decided | None = None
    compile_blocks: bool = False


# --- Files ------------------------------------------------------------------------------------------------------------


def read(path: Path) -> Recorded:
    """What a sidecar, or an image that mflux wrote, records about plugins.

    Raises:
        OptionError: there is no such file, it records nothing of ours, or the record is not one that this version
            writes.
    """
    content = metadata(path)
    if content is None or keys.ENTRY not in content:
        raise OptionError(
            f"{path} records no plugins. It must be an image that mflux wrote with --plugin, or its .metadata.json."
        )
    return parse(content[keys.ENTRY], content.get(keys.MODEL))


def is_image(path: Path) -> bool:
    """Whether a file is taken for an image, by its name, and not for a sidecar."""
    return path.suffix.lower() in IMAGES


def metadata(path: Path) -> dict[str, Any] | None:
    """All that a sidecar, or an image that mflux wrote, says about how it was made; ``None`` if there is nothing.

    Raises:
        OptionError: there is no such file, or it cannot be read.
    """
    try:
        text = _in_image(path) if is_image(path) else read_text(path, MOST_BYTES)
        content = None if text is None else parse_json(text)
    except (Unreadable, ValueError, RecursionError) as error:
        raise OptionError(
            f"{path} cannot be read: {error}. It must be an image that mflux wrote, or its .metadata.json."
        ) from error
    return content if isinstance(content, dict) else None


def _in_image(path: Path) -> str | None:
    with open_file(path) as file:
        try:
            return embedded(file, MOST_BYTES)
        except OSError as error:
            raise Unreadable(reason(error)) from error


def read_beside_mflux(path: Path) -> Recorded:
    """What a sidecar records about plugins, if mflux reads the same file next, as with ``-C``.

    A file that is missing or is no JSON gives nothing here. Neither does a pipe, and a warning says so.

    Raises:
        OptionError: the file is larger than any sidecar, or the entry is not one that this version writes.
    """
    try:
        text = read_text_with(keys.ENTRY, path, MOST_BYTES, _MOST_SEARCHED)
        content = None if text is None else parse_json(text)
    except TooLarge as error:
        raise OptionError(f"it cannot be a sidecar: {error}.") from error
    except NotAFile:  # a pipe can be read only once, and mflux needs its content
        if not path.is_dir():
            warnings.warn(
                f"{path} is no file that can be read twice, so plugins that it may record are not brought back, nor "
                f"are their options. Give a file.",
                PluginWarning,
                stacklevel=2,
            )
        return Recorded()
    except (Unreadable, json.JSONDecodeError, RecursionError):  # mflux is about to report this itself
        return Recorded()
    except ValueError as error:  # mflux would read this JSON, but we refuse it
        raise OptionError(f"{error}.") from error
    if not isinstance(content, dict) or keys.ENTRY not in content:
        return Recorded()
    return parse(content[keys.ENTRY], content.get(keys.MODEL))


# --- What is in them --------------------------------------------------------------------------------------------------


def parse(entry: Any, model: Any = None) -> Recorded:
    """The record that mflux's metadata have under our key. For a replayed image it is the record that it replays.

    Args:
        model: what the metadata have under ``model``.

    Raises:
        OptionError: the record is not one that this version writes.
    """
    # The other keys are optional: images of the first version have no decider and no partly reused steps.
    table = _table(keys.ENTRY, entry, keys.SCHEMA, keys.PLUGINS)
    _check_schema(table[keys.SCHEMA])
    where = f"{keys.ENTRY}.{keys.PLUGINS}"
    plugins: dict[str, Any] = _checked(where, _table(where, table[keys.PLUGINS]), _PLUGINS)
    options = {name: _options(f"{where}.{name}", recorded) for name, recorded in plugins.items()}
    compile_blocks: bool = _field(keys.ENTRY, table, keys.COMPILE_BLOCKS, BOOLEAN, default=False)
    found = Recorded(options=options, compile_blocks=compile_blocks)
    if table.get(keys.DECIDER) is None:
        return found
    names = Allowed(
        lambda value: isinstance(value, str) and value in plugins,
        f"one of {', '.join(plugins) or 'the plugins'}, or null",
    )
    decider = _field(keys.ENTRY, table, keys.DECIDER, names)
    found = _original(replace(found, decided=_decided(decider, plugins[decider], table, model)))
    if found.decided is not None:
        _refuse_much(f"What {keys.ENTRY} records of {found.decided.plugin}", found.decided.entry)
    return found


def _check_schema(schema: Any) -> None:
    if type(schema) is not int or schema != keys.SCHEMA_NUMBER:
        raise OptionError(
            f"{keys.ENTRY}.{keys.SCHEMA} is {brief(schema)}, and this version reads {keys.SCHEMA_NUMBER}. "
            f"Use the version of mflux-teacache-plugin that wrote it, or a later one."
        )


def _decided(plugin: str, entry: dict[str, Any], table: dict[str, Any], model: Any) -> Decided | None:
    pattern: str = _field(keys.ENTRY, table, keys.PATTERN, _PATTERN)
    residual_after: int = _field(keys.ENTRY, table, keys.RESIDUAL_AFTER, _RESIDUAL_AFTER)
    where = f"{keys.ENTRY}.{keys.PLUGINS}.{plugin}.{keys.VALUES}"
    values = _table(where, entry.get(keys.VALUES, {}))
    if keys.FORECAST not in values or not pattern:  # without it, nobody knows how the plugin made what it reused
        return None
    return Decided(
        plugin=plugin,
        model=model if isinstance(model, str) and len(model) <= LONGEST_TEXT else None,
        pattern=pattern,
        partly=_partly(pattern, table.get(keys.PARTLY, {})),
        residual_after=residual_after,
        # Images of the first version do not say what was reused, since it was always the body.
        reuse=_field(where, values, keys.REUSE, _REUSE, default=ResidualCache.reuses),
        forecast=_field(where, values, keys.FORECAST, _FORECAST),
        cache_dtype=_field(where, values, keys.CACHE_DTYPE, _CACHE_DTYPE),
        entry=_facts(entry),
    )


def outcomes(entry: Mapping[str, Any]) -> tuple[str, dict[int, str]]:
    """The pattern of a record that ``parse`` has read, and the branches of its partly reused steps.

    Raises:
        OptionError: they are not ones that this version writes.
    """
    pattern: str = _field(keys.ENTRY, dict(entry), keys.PATTERN, _PATTERN, default="")
    return pattern, _partly(pattern, entry.get(keys.PARTLY, {}))


def _partly(pattern: str, table: Any) -> dict[int, str]:
    """The branches of each partly reused step, by the step's index."""
    where = f"{keys.ENTRY}.{keys.PARTLY}"
    steps = [index for index, letter in enumerate(pattern) if letter == "P"]
    branches = _table(where, table, *map(str, steps))
    return {index: _field(where, branches, str(index), _BRANCHES) for index in steps}


def _facts(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in (keys.PACKAGE, keys.VERSION, keys.OPTIONS, keys.VALUES) if key in entry}


def _original(recorded: Recorded) -> Recorded:
    """The same record, with the replayed plugin in place of the one that replayed it."""
    # So a chain of replays stays one level deep, and each image can be replayed without the first one's file.
    decided = recorded.decided
    if decided is None or not any(about.source for name, about in our_own() if name == decided.plugin):
        return recorded
    where = f"{keys.ENTRY}.{keys.PLUGINS}.{decided.plugin}.{keys.VALUES}.{keys.REPLAYS}"
    replayed = _table(where, decided.entry[keys.VALUES].get(keys.REPLAYS), keys.PLUGIN, keys.VALUES)
    another = Allowed(
        lambda value: isinstance(value, str) and value not in recorded.options,
        "the name of a plugin that is not in the list itself",
    )
    name: str = _field(where, replayed, keys.PLUGIN, another)
    _table(f"{where}.{keys.VALUES}", replayed[keys.VALUES])
    own = _options(where, replayed)
    options = dict(
        (name, own) if plugin == decided.plugin else (plugin, given) for plugin, given in recorded.options.items()
    )
    return replace(recorded, options=options, decided=replace(decided, plugin=name, entry=_facts(replayed)))


def _options(where: str, recorded: Any) -> dict[str, Any]:
    table = _table(where, recorded, keys.OPTIONS)
    where = f"{where}.{keys.OPTIONS}"
    options = _table(where, table[keys.OPTIONS])
    _refuse_much(where, options)
    values = {name: _field(where, options, name, _OPTION) for name in options}
    return {name: value for name, value in values.items() if value is not None}


# --- Checks -----------------------------------------------------------------------------------------------------------


def _field(where: str, table: dict[str, Any], key: str, allowed: Allowed, default: Any = None) -> Any:
    return _checked(f"{where}.{key}", table.get(key, default), allowed)


def _table(where: str, value: Any, *needed: str) -> dict[str, Any]:
    table: dict[str, Any] = _checked(where, value, _OBJECT)
    if not all(key in table for key in needed):
        _refuse(where, table, f"an object with {' and '.join(map(repr, needed))}")
    return table


def _checked(where: str, value: Any, allowed: Allowed) -> Any:
    if not allowed.test(value):
        _refuse(where, value, allowed.words)
    return value


def _refuse_much(where: str, value: dict[str, Any]) -> None:
    if (much := too_much(value)) is not None:
        _refuse(where, value, much)


def _refuse(where: str, value: Any, allowed: str) -> NoReturn:
    raise OptionError(f"{where} is {brief(value)}, and it must be {allowed}. Correct it as --make-conf writes it.")
