"""Which of this package's strategies run on any model, for the message that refuses one that needs a calibration."""

from __future__ import annotations

from mflux_teacache.about import about_of
from mflux_teacache.discovery import PACKAGE, installed


def calibration_free() -> list[str]:
    """Names of this package's installed strategies that decide on any model, without figures measured on it."""
    ours = {plugin.name: plugin for plugin in installed() if plugin.package == PACKAGE}
    said = {name: about_of(plugin.entry_point.load()) for name, plugin in ours.items()}
    return sorted(name for name, about in said.items() if about.kind == "strategy" and not about.needs_calibration)
