"""How this package was installed here, and the command that installs it anew."""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from mflux_teacache.cli.own.doctor.page import as_word
from mflux_teacache.discovery import PACKAGE


def described() -> str:
    """Its version and how it came here."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return "on Python's path, but not installed"
    installer = (package.read_text("INSTALLER") or "?").strip()
    return f"{package.version}, installed by {installer} from {_origin(_direct_url(package))}"


def reinstall() -> str:
    """The command that installs it anew, for a shell."""
    if Path(sys.prefix, "uv-receipt.toml").exists():  # uv's own record of an environment of `uv tool install`
        return f"uv tool upgrade mflux --reinstall-package {PACKAGE}"
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return f"{as_word(sys.executable)} -m pip install {PACKAGE}"
    what = _requirement(_direct_url(package))
    if (package.read_text("INSTALLER") or "").strip() == "uv":
        return f"uv pip install --python {as_word(sys.executable)} --reinstall --no-deps {what}"
    return f"{as_word(sys.executable)} -m pip install --force-reinstall --no-deps {what}"


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
