"""Objects of a JSON file, held against the dataclass that they are read into. No mlx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.option_types import BOOLEAN, NUMBER, TEXT, Allowed, whole_number_from
from mflux_teacache.spelling import brief, shortened

# What a field may hold if its dataclass gives only a type. Whether it may be null is told by its default.
OF_TYPE: Mapping[str, Allowed] = {"str": TEXT, "float": NUMBER, "int": whole_number_from(1), "bool": BOOLEAN}


def tests_of(record: type, allowed: Mapping[str, Allowed]) -> Mapping[str, Allowed]:
    """What each field of a dataclass may hold: as ``allowed`` says, else what its type allows."""
    types = {field.name: _type_of(field) for field in fields(record)}
    by_type = {name: OF_TYPE[kind] for name, kind in types.items() if kind in OF_TYPE}
    return {**by_type, **{name: test for name, test in allowed.items() if name in types}}


def check_fields(
    record: type, data: Mapping[str, Any], what: str, tests: Mapping[str, Allowed], also: tuple[str, ...] = ()
) -> None:
    """Refuse an object that lacks a field, has an unknown one, or holds what is not allowed.

    Args:
        record: a field of this dataclass without a default is required; one whose default is ``None`` may be null.
        what: the object, at the beginning of a message.
        tests: what each field may hold, as ``tests_of`` has it.
        also: further fields that were read already, for the message.

    Raises:
        OptionError: it says which field, what it holds, and what is allowed.
    """
    defaults = {field.name: _default(field) for field in fields(record)}
    missing = [name for name, default in defaults.items() if default is MISSING and name not in data]
    unknown = [name for name in data if name not in defaults]
    if missing or unknown:
        problem = (
            f"lacks {', '.join(missing)}" if missing else f"has the unknown fields {shortened(', '.join(unknown), 200)}"
        )
        raise OptionError(f"{what} {problem}. Its fields are {', '.join((*also, *defaults))}.")
    for name, value in data.items():
        test, words = tests[name]
        nullable = defaults[name] is None
        if not (test(value) or (value is None and nullable)):
            raise OptionError(
                f"{what} has {name} = {brief(value)}; it must be {words}{' or null' if nullable else ''}."
            )


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _type_of(field: Field[Any]) -> str:
    """The name of a field's type, without ``| None``."""
    # A string under ``from __future__ import annotations``, and the type itself in a module without it.
    return getattr(field.type, "__name__", str(field.type)).removesuffix(" | None")
