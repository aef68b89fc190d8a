"""What the figures were measured with: versions and machine, without anything that names it or its user."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import mlx.core as mx

PACKAGES = ("mlx", "mflux", "mflux-teacache-plugin")
NOT_INSTALLED = "not installed"

# Of what MLX tells of a device; not its UUID and bus address.
_DEVICE = (
    "device_name",
    "architecture",
    "memory_size",
    "total_memory",
    "compute_capability_major",
    "compute_capability_minor",
)


def version_of(distribution: str) -> str:
    """A package that is only on the path has no version."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return NOT_INSTALLED


def versions(*more: str) -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{distribution: version_of(distribution) for distribution in (*PACKAGES, *more)},
    }


def machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "default_device": str(mx.default_device()),
        "device": {name: value for name, value in mx.device_info().items() if name in _DEVICE},
    }
