"""What a sidecar of mflux's (``-C run.json``) says about plugins: names of installed ones, and plain values."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from reprlib import repr as brief
from typing import Any, NoReturn

from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.metadata import KEY, SCHEMA


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Each recorded plugin's options by name, without those that were not given.

    A file that is missing or is no JSON gives nothing here: mflux reads it next and has its own error.

    Raises:
        OptionError: the entry is not one that this version writes.
    """
    try:
        with path.open("rt") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or KEY not in content:
        return {}
    with naming(path):
        return _plugins(content[KEY])


@contextlib.contextmanager
def naming(path: Path | None) -> Iterator[None]:
    """Say in a refusal that it is about this file, if it is about one, and how to go on without it."""
    try:
        yield
    except Refused as error:
        if path is None:
            raise
        message = str(error).removesuffix(".")
        raise type(error)(f"{path}: {message}. Or run without the plugins of this file: --plugin none.") from error


def _plugins(entry: Any) -> dict[str, dict[str, Any]]:
    table = _table(KEY, entry, "schema", "plugins")
    schema = table["schema"]
    if type(schema) is not int or schema != SCHEMA:
        raise OptionError(
            f"{KEY}.schema is {brief(schema)}, and this version reads {SCHEMA}. "
            f"Use the version of mflux-teacache-plugin that wrote it, or a later one."
        )
    plugins = _table(f"{KEY}.plugins", table["plugins"])
    return {name: _options(f"{KEY}.plugins.{name}", recorded) for name, recorded in plugins.items()}


def _options(where: str, recorded: Any) -> dict[str, Any]:
    options = _table(f"{where}.options", _table(where, recorded, "options")["options"])
    for name, value in options.items():
        if not _is_plain(value):
            _refuse(f"{where}.options.{name}", value, "a text, a number, true, false, null, or a list of those")
    return {name: value for name, value in options.items() if value is not None}


def _table(where: str, value: Any, *keys: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(where, value, "an object")
    if not all(key in value for key in keys):
        _refuse(where, value, f"an object with {' and '.join(map(repr, keys))}")
    return value


def _is_plain(value: Any) -> bool:
    entries = value if isinstance(value, list) else [value]
    return all(isinstance(entry, str | int | float | None) for entry in entries)


def _refuse(where: str, value: Any, allowed: str) -> NoReturn:
    raise OptionError(f"{where} is {brief(value)}, and it must be {allowed}. Correct it as --make-conf writes it.")
