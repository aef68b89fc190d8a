"""Which plugins are installed, and which of them are broken."""

from __future__ import annotations

from mflux_teacache.cli.own.doctor.page import Part
from mflux_teacache.cli.own.plugin_rows import describe, of_unreadable
from mflux_teacache.discovery import search


def plugin_states(mlx: Part) -> Part:
    """The plugins, which need MLX; its part of the page says whether it works."""
    if mlx.broken:
        return Part("plugins", {"not tried": "they need MLX, which does not work"})
    found = search()
    rows = [describe(plugin) for plugin in found.plugins]
    facts = {
        f"{row.name} ({row.package} {row.version})": "broken" if row.error else row.kind or "made by a factory"
        for row in rows
    }
    facts |= {package.package: "entry points cannot be read" for package in found.unreadable}
    broken = [row.error for row in rows if row.error] + [of_unreadable(package) for package in found.unreadable]
    return Part("plugins", facts, broken)
