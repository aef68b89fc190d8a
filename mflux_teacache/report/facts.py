"""Versions, machine and settings of a file, as labels with values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mflux_teacache.spelling import shortened, visible, without_folder

_LONGEST = 300


def of_bench(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What every result of a bench says beside its figures."""
    device = _table(_table(content.get("machine")).get("device"))
    machine = [device.get("device_name"), *map(_table(content.get("machine")).get, ("system", "architecture"))]
    return [
        *named("model", content.get("model")),
        *named("base model", content.get("base_model")),
        *named("files", _spelt(content.get("files"))),
        *named("image", _spelt(content.get("arguments"))),
        *named("measured", content.get("date")),
        *named("versions", _spelt(content.get("versions"))),
        *named("machine", ", ".join(str(part) for part in machine if part)),
    ]


def named(label: str, value: Any) -> Iterator[tuple[str, str]]:
    """One fact; none of what is not known."""
    if value not in (None, "", [], {}):
        yield label, shortened(visible(without_folder(value)), _LONGEST)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _spelt(value: Any) -> str:
    known = {name: each for name, each in _table(value).items() if each is not None}
    return ", ".join(f"{str(name).replace('_', ' ')} {without_folder(each)}" for name, each in known.items())
