"""Which of this package's strategies run on any model, for the message that refuses one that needs a calibration."""

from __future__ import annotations

from importlib.metadata import entry_points

_GROUP = "mflux.plugins"
_PACKAGE = "mflux-teacache-plugin"


def calibration_free() -> list[str]:
    """Names of this package's installed strategies that decide on any model, without figures measured on it.

    One that does says so: ``calibration_free = True`` on its class.
    """
    ours = [point for point in entry_points(group=_GROUP) if point.dist is not None and point.dist.name == _PACKAGE]
    return sorted({point.name for point in ours if getattr(point.load(), "calibration_free", False)})
