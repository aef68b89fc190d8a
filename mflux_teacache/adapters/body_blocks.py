"""Finds the blocks of a body in a transformer, and the methods by which mflux's forward enters them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from mflux_teacache.adapters.entry_check import changed
from mflux_teacache.adapters.signatures import of_method
from mflux_teacache.family import Dual, Family, Joint


class Entry(NamedTuple):
    """A method by which mflux's forward enters a block.

    Attributes:
        place: the block's, in the body.
        stage: the list that the block is in.
        forward: the method as mflux has it.
        signature: its own, without ``self``.
    """

    place: int
    stage: Dual | Joint
    forward: Callable[..., Any]
    signature: inspect.Signature


def blocks_of(transformer: Any, family: Family) -> list[tuple[Dual | Joint, Any]]:
    """Every block of the body, in the order in which they run, with the list that it is in.

    Raises:
        UnsupportedModel: a list that the family's entry names is missing, or empty.
    """
    return [(stage, block) for stage in family.body for block in _listed(transformer, stage, family)]


def entries_of(cls: type, place: int, stage: Dual | Joint, family: Family) -> dict[str, Entry]:
    """Those of the methods that the family's entry names which a block of this class has, by name.

    Raises:
        UnsupportedModel: it has none, or a method lacks the argument that holds a stream.
    """
    entries = {name: _entry(cls, name, place, stage, family) for name in stage.methods if hasattr(cls, name)}
    if not entries:
        methods = " or ".join(map(repr, stage.methods))
        raise changed(f"{cls.__name__} in {stage.blocks!r} has no method {methods}", family)
    return entries


def _listed(transformer: Any, stage: Dual | Joint, family: Family) -> list[Any]:
    blocks = functools.reduce(_member, stage.blocks.split("."), transformer)
    if not isinstance(blocks, list) or not blocks:
        raise changed(f"{type(transformer).__name__} has no block list {stage.blocks!r}", family)
    return blocks


def _member(owner: Any, name: str) -> Any:
    # Not isinstance: an mlx module is a dict too.
    return owner.get(name) if type(owner) is dict else getattr(owner, name, None)


def _entry(cls: type, method: str, place: int, stage: Dual | Joint, family: Family) -> Entry:
    where = cls.__name__ if method == "__call__" else f"{cls.__name__}.{method}"
    forward = getattr(cls, method)
    signature = of_method(cls, method)
    needed = (stage.image, stage.text) if isinstance(stage, Dual) else (stage.stream,)
    if missing := [name for name in needed if name not in signature.parameters]:
        has = ", ".join(signature.parameters)
        raise changed(f"{where} in {stage.blocks!r} has no argument {missing[0]!r} (it has {has})", family)
    return Entry(place, stage, forward, signature)
