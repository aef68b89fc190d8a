"""What ``pip install 'mflux-teacache-plugin[bench]'`` brings."""

from __future__ import annotations

from importlib.util import find_spec

from mflux_teacache.errors import Refused


def require(*modules: str) -> None:
    """Refuse early where a module is missing.

    Raises:
        Refused: names it, and the command that installs it.
    """
    if missing := [module for module in modules if find_spec(module) is None]:
        raise Refused(f"this needs {', '.join(missing)}, which is missing. pip install 'mflux-teacache-plugin[bench]'")
