"""Which versions are installed, and whether they are those that this package needs."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from mflux_teacache.cli.own.doctor.page import Part
from mflux_teacache.discovery import PACKAGE
from mflux_teacache.installation import described, installing

# Packages that reuse steps of mflux's models too; shown if they are here.
OTHERS = ("mlx-teacache", "mflux-teacache")


def versions() -> Part:
    needed = list(_needed())
    facts = {PACKAGE: described()}
    facts |= {each.name: _version(each.name) or "not installed" for each in needed}
    facts |= {name: found for name in OTHERS if (found := _version(name))}
    facts["Python"] = f"{platform.python_version()} ({platform.python_implementation()}, {platform.machine()})"
    facts["system"] = _system()
    return Part("versions", facts, [text for each in needed if (text := _unmet(each))])


def _needed() -> Iterator[Requirement]:
    """What the package's own metadata ask for in every environment of this kind, without its extras."""
    try:
        asked = requires(PACKAGE) or []
    except PackageNotFoundError:  # described() says so
        asked = ["mflux", "mlx"]
    for requirement in map(Requirement, asked):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _unmet(needed: Requirement) -> str | None:
    found = _version(needed.name)
    if found is not None and needed.specifier.contains(found, prereleases=True):
        return None
    here = "is not installed" if found is None else f"is {found}"
    return (
        f"{needed.name} {here}, and {PACKAGE} needs {needed}. Install it into this environment with "
        f"`{installing(str(needed))}`."
    )


def _system() -> str:
    release, _, machine = platform.mac_ver()
    return f"macOS {release} ({machine})" if release else f"{platform.system()} {platform.release()}"
