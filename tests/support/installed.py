"""What the installed mflux is and has: a family's tests exist where the family does."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version

MFLUX = tuple(int(part) for part in version("mflux").split(".")[:2])
KEEPS_PREDICT = MFLUX < (0, 21)
"""It holds its predict function, and with it the transformer, until the image is done."""


def has(module: str) -> bool:
    """Whether the installed mflux has this module."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor the package that would hold it
        return False
