"""Reads what ``metadata`` recorded with an image: names of plugins, plain values, and which steps were skipped.

Everything is checked, since a file may come from anywhere: it can name plugins, but only installed ones are ever
loaded, and never a module.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from mflux_teacache.adapters.image_metadata import embedded
from mflux_teacache.errors import OptionError, brief
from mflux_teacache.forecast import ORDERS
from mflux_teacache.input_files import Unreadable, open_file, read_text, reason
from mflux_teacache.json_fields import LONGEST_NAME, LONGEST_TEXT, parse_json
from mflux_teacache.metadata import COMPILE_BLOCKS, KEY, SCHEMA, too_much
from mflux_teacache.option_words import is_json
from mflux_teacache.storage import DTYPES

IMAGES = (".png", ".jpg", ".jpeg", ".webp")

# A sidecar has 1 to 20 kB; with a prompt as long as a book and a shadow run of a thousand steps, 1 MB.
MOST_BYTES = 4_000_000

MOST_PLUGINS = 64

# No transformer of mflux has more than 60. How many a model has is only known when it is built.
MOST_BLOCKS = 64

# The plugin that repeats decisions, and where among its values it records whose.
REPLAY = "replay"
REPLAYS = "replays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Which steps a plugin skipped, and all that it takes to skip them again in the same way.

    Attributes:
        plugin: its name.
        model: that made the image, as mflux records it; ``None`` if it does not say.
        pattern: one letter per step, C computed and S skipped; the first is C.
        residual_after: how many of the body's first blocks ran in every step.
        forecast: order with which ``ResidualCache`` made what was reused.
        cache_dtype: in which it kept residuals of wider streams; ``None`` = the stream's own.
        entry: what is recorded of the plugin: ``package``, ``version``, ``options``, ``values``.
    """

    plugin: str
    model: str | None
    pattern: str
    residual_after: int
    forecast: int
    cache_dtype: str | None
    entry: dict[str, Any]

    def is_of_another(self, model: str | None) -> bool:
        """The image is known to be of another model than this one, which is a ``Target.model``."""
        return self.model is not None and model not in (None, self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The plugins of an image.

    Attributes:
        options: each plugin's, by name, without those that were not given.
        decided: ``None`` if no plugin decided, or not in a way that can be repeated: its recorded values do not say
            the order of a forecast, or the image is of a version that did not record who decided.
        compile_blocks: its blocks were compiled, each on its own.
    """

    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    decided: Decided | None = None
    compile_blocks: bool = False


def read(path: Path) -> Recorded:
    """From a sidecar, or from an image that mflux wrote.

    Raises:
        OptionError: there is no such file, nothing of ours in it, or something that this version does not write.
    """
    try:
        text = _in_image(path) if path.suffix.lower() in IMAGES else read_text(path, MOST_BYTES)
        content = None if text is None else parse_json(text)
    except (Unreadable, ValueError, RecursionError) as error:
        raise OptionError(
            f"{path} cannot be read: {error}. It must be an image that mflux wrote with plugins, or its .metadata.json."
        ) from error
    if not isinstance(content, dict) or KEY not in content:
        raise OptionError(
            f"{path} records no plugins. It must be an image that mflux wrote with --plugin, or its .metadata.json."
        )
    return parse(content[KEY], content.get("model"))


def _in_image(path: Path) -> str | None:
    with open_file(path) as file:
        try:
            return embedded(file, MOST_BYTES)
        except OSError as error:
            raise Unreadable(reason(error)) from error


def parse(entry: Any, model: Any = None) -> Recorded:
    """What an image's metadata has under ``KEY``. A replayed image gives what it replays.

    Args:
        model: what it has under ``model``.

    Raises:
        OptionError: something that this version does not write.
    """
    table = _table(KEY, entry, "schema", "plugins")
    schema = table["schema"]
    if type(schema) is not int or schema != SCHEMA:
        raise OptionError(
            f"{KEY}.schema is {brief(schema)}, and this version reads {SCHEMA}. "
            f"Use the version of mflux-teacache-plugin that wrote it, or a later one."
        )
    plugins = _table(f"{KEY}.plugins", table["plugins"])
    if len(plugins) > MOST_PLUGINS or any(len(name) > LONGEST_NAME for name in plugins):
        _refuse(f"{KEY}.plugins", plugins, f"at most {MOST_PLUGINS}, with names of at most {LONGEST_NAME} characters")
    options = {name: _options(f"{KEY}.plugins.{name}", recorded) for name, recorded in plugins.items()}
    compile_blocks = table.get(COMPILE_BLOCKS, False)
    if not isinstance(compile_blocks, bool):
        _refuse(f"{KEY}.{COMPILE_BLOCKS}", compile_blocks, "true or false")
    found = Recorded(options=options, compile_blocks=compile_blocks)
    decider = table.get("decider")
    if decider is None:
        return found
    if not isinstance(decider, str) or decider not in plugins:
        _refuse(f"{KEY}.decider", decider, f"one of {', '.join(plugins) or 'the plugins'}, or null")
    found = _original(replace(found, decided=_decided(decider, plugins[decider], table, model)))
    if found.decided is not None:
        _refuse_much(f"What {KEY} records of {found.decided.plugin}", found.decided.entry)
    return found


def _decided(plugin: str, entry: dict[str, Any], table: dict[str, Any], model: Any) -> Decided | None:
    pattern, residual_after = table.get("pattern"), table.get("residual_after")
    if not isinstance(pattern, str) or not set(pattern) <= {"C", "S"} or pattern.startswith("S"):
        _refuse(f"{KEY}.pattern", pattern, "one C or S per step, the first of them C")
    if type(residual_after) is not int or not 0 <= residual_after <= MOST_BLOCKS:
        _refuse(f"{KEY}.residual_after", residual_after, f"a whole number from 0 to {MOST_BLOCKS}")
    values = _table(f"{KEY}.plugins.{plugin}.values", entry.get("values", {}))
    if "forecast" not in values or not pattern:
        return None
    order = values["forecast"]
    if type(order) is not int or order not in ORDERS:
        _refuse(f"{KEY}.plugins.{plugin}.values.forecast", order, f"one of {', '.join(map(str, ORDERS))}")
    dtype = values.get("cache_dtype")
    if dtype is not None and (not isinstance(dtype, str) or dtype not in DTYPES):
        _refuse(f"{KEY}.plugins.{plugin}.values.cache_dtype", dtype, f"one of {', '.join(DTYPES)}, or null")
    return Decided(
        plugin=plugin,
        model=model if isinstance(model, str) and len(model) <= LONGEST_TEXT else None,
        pattern=pattern,
        residual_after=residual_after,
        forecast=order,
        cache_dtype=dtype,
        entry=_facts(entry),
    )


def _facts(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("package", "version", "options", "values") if key in entry}


def _original(recorded: Recorded) -> Recorded:
    """With the plugin that is replayed in place of the one that replayed it."""
    decided = recorded.decided
    if decided is None or decided.plugin != REPLAY:
        return recorded
    where = f"{KEY}.plugins.{REPLAY}.values.{REPLAYS}"
    replayed = _table(where, decided.entry["values"].get(REPLAYS), "plugin", "values")
    name = replayed["plugin"]
    if not isinstance(name, str) or name in recorded.options:
        _refuse(f"{where}.plugin", name, "the name of a plugin that is not in the list itself")
    _table(f"{where}.values", replayed["values"])
    own = _options(where, replayed)
    options = dict((name, own) if plugin == REPLAY else (plugin, given) for plugin, given in recorded.options.items())
    return replace(recorded, options=options, decided=replace(decided, plugin=name, entry=_facts(replayed)))


def _options(where: str, recorded: Any) -> dict[str, Any]:
    options = _table(f"{where}.options", _table(where, recorded, "options")["options"])
    _refuse_much(f"{where}.options", options)
    for name, value in options.items():
        if not is_json(value):
            _refuse(f"{where}.options.{name}", value, "a text, a number, true, false, null, or a list of those")
    return {name: value for name, value in options.items() if value is not None}


def _table(where: str, value: Any, *keys: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(where, value, "an object")
    if not all(key in value for key in keys):
        _refuse(where, value, f"an object with {' and '.join(map(repr, keys))}")
    return value


def _refuse_much(where: str, value: dict[str, Any]) -> None:
    if (much := too_much(value)) is not None:
        _refuse(where, value, much)


def _refuse(where: str, value: Any, allowed: str) -> NoReturn:
    raise OptionError(f"{where} is {brief(value)}, and it must be {allowed}. Correct it as --make-conf writes it.")
