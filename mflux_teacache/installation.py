"""How this package was installed here, and the commands that install it anew, and others beside it. For a shell."""

from __future__ import annotations

import json
import shlex
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from mflux_teacache.discovery import PACKAGE
from mflux_teacache.spelling import as_word


def described() -> str:
    """Its version and how it came here."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return "on Python's path, but not installed"
    return f"{package.version}, installed by {_installer() or '?'} from {_origin(_direct_url(package))}"


def reinstall() -> str:
    """The command that installs it anew."""
    if Path(sys.prefix, "uv-receipt.toml").exists():  # uv's own record of an environment of `uv tool install`
        return f"uv tool upgrade mflux --reinstall-package {PACKAGE}"
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return installing(PACKAGE)
    return f"{_command(anew=True)} --no-deps {_requirement(_direct_url(package))}"


def installing(what: str, *, anew: bool = False) -> str:
    """The command that installs something into this environment, by the installer that brought this package here.

    Args:
        what: a requirement, such as ``mlx>=0.30``.
        anew: also where it is there already.
    """
    return f"{_command(anew=anew)} {shlex.quote(what)}"


def _command(*, anew: bool) -> str:
    python = as_word(sys.executable)
    if _installer() == "uv":  # whose environments have no pip
        return f"uv pip install --python {python}{' --reinstall' if anew else ''}"
    return f"{python} -m pip install{' --force-reinstall' if anew else ''}"


def _installer() -> str:
    """Its name; empty where none has left it."""
    try:
        return (distribution(PACKAGE).read_text("INSTALLER") or "").strip()
    except PackageNotFoundError:
        return ""


def _direct_url(package: Distribution) -> dict[str, Any]:
    """Where it came from if that was no package index (PEP 610); else empty."""
    found: dict[str, Any] = json.loads(package.read_text("direct_url.json") or "{}")
    return found


def _origin(direct: dict[str, Any]) -> str:
    if "dir_info" in direct:
        return "a checkout, editable" if direct["dir_info"].get("editable") else "a checkout"
    return "a file or address" if direct else "a package index"


def _requirement(direct: dict[str, Any]) -> str:
    if not direct:
        return PACKAGE
    address = urlparse(direct["url"])
    where = as_word(url2pathname(address.path)) if address.scheme == "file" else direct["url"]
    return f"-e {where}" if direct.get("dir_info", {}).get("editable") else where
