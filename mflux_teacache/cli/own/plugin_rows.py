"""Installed plugins as our own commands describe them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mflux_teacache import plugins
from mflux_teacache.discovery import Installed, Unreadable
from mflux_teacache.errors import PluginError
from mflux_teacache.options import Declared


@dataclass(frozen=True, slots=True)
class Row:
    """An installed plugin.

    Attributes:
        options: as they are written on a command line.
        error: why it cannot be used; ``None`` if it can.
        kind: the kind in its record; else ``strategy`` if its class decides, and ``tool`` if it does not. ``None`` for
            a factory without a record.
        description: the description in its record; else the first sentence of its class's docstring.
    """

    name: str
    package: str
    version: str
    options: tuple[str, ...] = ()
    error: str | None = None
    kind: str | None = None
    description: str = ""


def describe(plugin: Installed) -> Row:
    """Import a plugin and read its options; one that is broken is described by its error."""
    try:
        loaded = plugins.load(plugin.name)
        flags = tuple(action.option_strings[0] for action in Declared(loaded).actions)
        about = loaded.about
    except PluginError as error:
        return Row(plugin.name, plugin.package, plugin.version, error=str(error))
    kind, description = about.kind or _kind(loaded.factory), about.description or _first_sentence(loaded.factory)
    return Row(plugin.name, plugin.package, plugin.version, flags, None, kind, description)


def _kind(factory: Callable[[], Any]) -> str | None:
    """The kind of a plugin without a record, judged by its hooks; ``None`` if it cannot be told."""
    if not isinstance(factory, type):  # the hooks of what a factory makes are only known once it has made it
        return None
    return "strategy" if hasattr(factory, plugins.DECIDES) else "tool"


def _first_sentence(documented: object) -> str:
    text = " ".join((inspect.getdoc(documented) or "").split())
    first, stop, _ = text.partition(". ")
    return f"{first}." if stop else first


def of_unreadable(package: Unreadable) -> str:
    """What this means, and what to do."""
    return (
        f"{package.package}: its plugins, if it has some, are not known, since its entry points cannot be read "
        f"({package.problem}). Reinstall or remove that package."
    )
