"""Values of a JSON file as the dataclasses that they were written from. Pure.

A file may come from anywhere, so every value is held against the type of its field. Fields that a dataclass does not
have are of a later version, and passed over.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.option_types import is_drawn, is_text
from mflux_teacache.spelling import brief

T = TypeVar("T")

_PLAIN: Mapping[type, Any] = {
    str: is_text,
    float: is_drawn,
    int: lambda value: type(value) is int,
    bool: lambda value: type(value) is bool,
}


def made(record: type[T], entry: Any, where: str) -> T:
    """The dataclass that an object of a file was written from; ``where`` is the object in a message.

    Raises:
        OptionError: it lacks a field, or one holds something else.
    """
    if not isinstance(entry, dict):
        raise _wrong(where, entry, "an object")
    hints = get_type_hints(record)
    known = {}
    for field in fields(record):  # type: ignore[arg-type]  # T is a dataclass
        if field.name in entry:
            known[field.name] = _value(hints[field.name], entry[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise OptionError(f"{where} lacks {field.name}. Make the file anew with the command that wrote it.")
    return record(**known)


def made_all(record: type[T], entries: Any, where: str) -> list[T]:
    """One for each object of a list; raises as ``made`` does."""
    if not isinstance(entries, list):
        raise _wrong(where, entries, "a list")
    return [made(record, entry, f"{where}[{place}]") for place, entry in enumerate(entries)]


def _value(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        [kind] = [option for option in get_args(kind) if option is not type(None)]
    if isinstance(kind, type) and is_dataclass(kind):
        return made(kind, value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise _wrong(where, value, "a list")
        return tuple(_value(get_args(kind)[0], each, f"{where}[{place}]") for place, each in enumerate(value))
    if not _PLAIN[kind](value):
        raise _wrong(where, value, {str: "text", float: "a number", int: "a whole number", bool: "true or false"}[kind])
    return value


def _wrong(where: str, value: Any, words: str) -> OptionError:
    return OptionError(
        f"{where} is {brief(value)}, and it must be {words}. Make the file anew with the command that wrote it."
    )
