"""Which plugins are installed: the entry points of every package. A damaged package hides only its own.

This reads package metadata and imports no package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, distributions
from pathlib import PurePath
from typing import NamedTuple

from mflux_teacache.errors import BrokenPlugin, OptionError, UnknownPlugin
from mflux_teacache.messages import did_you_mean
from mflux_teacache.spelling import described

GROUP = "mflux.plugins"
PACKAGE = "mflux-teacache-plugin"  # this one
NONE = "none"  # on the command line: no plugin


@dataclass(frozen=True, slots=True)
class Installed:
    """An entry point of group ``mflux.plugins``; nothing of it has been imported.

    Attributes:
        package, version: ``?`` if the package's metadata do not say.
    """

    name: str
    package: str
    version: str
    entry_point: EntryPoint

    @property
    def unusable(self) -> str | None:
        """Why no command line could name this plugin; ``None`` if one can."""
        if self.name == NONE:
            return f"--plugin {NONE} switches plugins off"
        if not self.name or self.name.startswith("-"):
            return "no option can name it"
        return None


class Unreadable(NamedTuple):
    """A package whose entry points cannot be read.

    Attributes:
        package: the name of its metadata folder.
        problem: what is wrong with it.
    """

    package: str
    problem: str


class Found(NamedTuple):
    """What the packages of this environment provide.

    Attributes:
        plugins: by name.
        unreadable: packages that may provide some too.
    """

    plugins: list[Installed]
    unreadable: list[Unreadable]


def installed() -> list[Installed]:
    """Every installed plugin, sorted by name."""
    return search().plugins


def built_in() -> list[str]:
    """Names of this package's own plugins."""
    try:  # of one package, since reading the metadata of all would slow down each mistyped option
        points = distribution(PACKAGE).entry_points
    except PackageNotFoundError:  # run from a folder that was never installed
        return []
    return sorted(point.name for point in points if point.group == GROUP)


def search() -> Found:
    """Every installed plugin, and the packages that cannot be read."""
    points, unreadable = entry_points(GROUP)
    found = {
        (point.name, _normalised(package), point.value): Installed(point.name, package, version, point)
        # A package may be on the path twice. Python imports the first one, which reversed comes last, and so counts.
        for point, package, version in reversed(points)
    }
    return Found(sorted(found.values(), key=lambda plugin: (plugin.name, plugin.package)), unreadable)


def find(name: str) -> Installed:
    """The one plugin of this name.

    Raises:
        UnknownPlugin: no installed package provides it; the message lists what is installed.
        BrokenPlugin: several packages provide it, or nobody could name it.
    """
    found = search()
    matches = [plugin for plugin in found.plugins if plugin.name == name]
    if not matches:
        raise UnknownPlugin(_unknown(name, found))
    if len(matches) > 1:
        packages = " and ".join(f"{plugin.package} {plugin.version}" for plugin in matches)
        raise BrokenPlugin(f"plugin {name!r} is provided by {packages}. Uninstall all but one of them.")
    [plugin] = matches
    if plugin.unusable:
        raise BrokenPlugin(
            f"plugin {name!r} of package {plugin.package} {plugin.version} cannot be used: {plugin.unusable}. "
            f"Its authors must rename it."
        )
    return plugin


def named(keyword: str) -> str:
    """The name of the installed plugin that a keyword of ``attach`` stands for.

    Raises:
        OptionError: it could stand for several.
    """
    # A keyword can have a hyphen only as ``**{"first-block-cache": {}}``; elsewhere an underscore stands for it.
    names = {plugin.name for plugin in installed() if keyword in (plugin.name, plugin.name.replace("-", "_"))}
    if len(names) > 1:
        spelt = " and ".join(map(repr, sorted(names)))
        raise OptionError(
            f"{keyword}={{...}} could be each of the plugins {spelt}, which are all installed. Attach it by its name, "
            f"attach(model, {min(names)!r}), or as attach(model, **{{{min(names)!r}: {{...}}}}) beside others."
        )
    # If none is installed, the loader refuses this name, with a list of those that are.
    return next(iter(names), keyword.replace("_", "-"))


def _unknown(name: str, found: Found) -> str:
    names = dict.fromkeys(plugin.name for plugin in found.plugins if not plugin.unusable)
    unread = ", ".join(f"{package.package} ({package.problem})" for package in found.unreadable)
    hidden = f" These packages cannot be read, and may provide it; reinstall them: {unread}." if unread else ""
    return (
        f"unknown plugin {name!r}.{did_you_mean(name, names)} Installed: {', '.join(names) or 'none'}. "
        f"Check the spelling, or pip install the package that provides it; `mflux-teacache plugins` shows details."
        f"{hidden}"
    )


class Point(NamedTuple):
    """An entry point with the name and version of its package."""

    point: EntryPoint
    package: str
    version: str


def entry_points(group: str) -> tuple[list[Point], list[Unreadable]]:
    """The entry points of one group, from all packages that can be read."""
    points: list[Point] = []
    unreadable: list[Unreadable] = []
    for package in distributions():
        try:
            points += _points(package, group)
        except Exception as error:  # noqa: BLE001 - whatever is wrong there, the other packages are still usable
            unreadable.append(Unreadable(_folder(package), described(error)))
    return points, sorted(unreadable)


def _points(distribution: Distribution, group: str) -> Iterator[Point]:
    for point in distribution.entry_points:
        if point.group == group:
            yield Point(point, *_package(distribution))


def _package(distribution: Distribution) -> tuple[str, str]:
    """Name and version."""
    # A package that is half removed has no metadata, but the name of its folder still says both.
    name, _, version = PurePath(_folder(distribution)).stem.partition("-")
    try:
        name = distribution.metadata["Name"] or name
        version = distribution.metadata["Version"] or version
    except Exception:  # noqa: BLE001 - as above
        return name or "?", version or "?"
    return name or "?", version or "?"


def _folder(distribution: Distribution) -> str:
    """The name of the metadata folder, such as ``mflux-0.24.0.dist-info``; empty for a distribution without one."""
    # importlib.metadata has no public name for it.
    return PurePath(str(getattr(distribution, "_path", ""))).name


def _normalised(package: str) -> str:
    # As PEP 503 has it, so that ``My_Package`` and ``my-package`` are not taken for two.
    return re.sub(r"[-_.]+", "-", package).lower()
