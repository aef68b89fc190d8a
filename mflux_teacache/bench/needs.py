"""What some measurements need beside the package, refused early where it is missing."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mflux_teacache.discovery import PACKAGE
from mflux_teacache.errors import Refused
from mflux_teacache.installation import installing

LABORATORY = "mflux_teacache.bench.laboratory"


def require(*modules: str, extra: str = "bench") -> None:
    """Raises:
    Refused: modules are missing that an extra of this package brings; it names them, and how to get them.
    """
    if missing := [module for module in modules if find_spec(module) is None]:
        raise Refused(
            f"this needs {', '.join(missing)}, which is missing. Install it with `{installing(f'{PACKAGE}[{extra}]')}`."
        )


def laboratory(module: str, option: str) -> Any:
    """A module of the laboratory, which is in the repository and not in the wheel.

    Args:
        option: that needs it, for the message.

    Raises:
        Refused: the package was installed from a wheel.
    """
    if find_spec(LABORATORY) is None:
        raise Refused(
            f"{option} is for a checkout of this package's repository, with uv run mflux-teacache bench there: "
            f"what is installed here comes without what it needs. Measure a checkpoint with --model, or the demo's."
        )
    return import_module(f"{LABORATORY}.{module}")
