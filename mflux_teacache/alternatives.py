"""Which of this package's strategies run on any model, for the message that refuses one that needs a calibration."""

from __future__ import annotations

from mflux_teacache.discovery import installed

_PACKAGE = "mflux-teacache-plugin"


def calibration_free() -> list[str]:
    """Names of this package's installed strategies that decide on any model, without figures measured on it.

    One that does says so: ``calibration_free = True`` on its class.
    """
    ours = [plugin for plugin in installed() if plugin.package == _PACKAGE]
    return sorted({plugin.name for plugin in ours if getattr(plugin.entry_point.load(), "calibration_free", False)})
