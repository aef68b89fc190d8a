"""``mflux-teacache plugins``: what is installed, and which of mflux's pipelines plugins run on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from mflux_teacache import options, plugins
from mflux_teacache.adapters.pipelines import Pipeline, in_installed_mflux
from mflux_teacache.errors import PluginError
from mflux_teacache.plugins import Installed


@dataclass(frozen=True, slots=True)
class Row:
    """An installed plugin.

    Attributes:
        options: as they are written on a command line.
        error: why it cannot be used; ``None`` if it can.
    """

    name: str
    package: str
    version: str
    options: tuple[str, ...] = ()
    error: str | None = None


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``plugins`` to the commands of ``mflux-teacache``."""
    parser = subparsers.add_parser(
        "plugins",
        help="list the installed plugins and the pipelines that they run on",
        description="Lists the installed plugins with their options, and the installed mflux's pipelines.",
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the tables; returns the exit code."""
    rows = [describe(plugin) for plugin in plugins.installed()]
    pipelines = in_installed_mflux()
    print(as_json(rows, pipelines) if arguments.json else as_text(rows, pipelines))
    return 0


def describe(plugin: Installed) -> Row:
    """Import a plugin and read its options; one that is broken is described by its error."""
    try:
        loaded = plugins.load(plugin.name)
        parser = argparse.ArgumentParser(add_help=False)
        flags = tuple(action.option_strings[0] for action in options.declare(parser, loaded))
    except PluginError as error:
        return Row(plugin.name, plugin.package, plugin.version, error=str(error))
    return Row(plugin.name, plugin.package, plugin.version, flags)


def as_json(rows: Iterable[Row], pipelines: Iterable[Pipeline]) -> str:
    content = {
        "mflux": version("mflux"),
        "plugins": [asdict(row) for row in rows],
        "pipelines": [
            {"name": entry.name, "family": entry.family, "level": entry.level, "note": entry.note}
            for entry in pipelines
        ],
    }
    return json.dumps(content, indent=2)


def as_text(rows: Sequence[Row], pipelines: Sequence[Pipeline]) -> str:
    installed = [
        (row.name, row.package, row.version, f"broken: {row.error}" if row.error else " ".join(row.options))
        for row in rows
    ]
    supported = [(entry.name, entry.family or "-", entry.level, entry.note) for entry in pipelines]
    return "\n".join(
        [
            *table(("PLUGIN", "PACKAGE", "VERSION", "OPTIONS"), installed),
            "",
            *table((f"PIPELINE OF MFLUX {version('mflux')}", "FAMILY", "SUPPORT", "NOTE"), supported),
        ]
    )


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns."""
    lines = [heading, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
