"""``mflux-teacache plugins`` shows which plugins are installed, and on which of mflux's pipelines plugins run.

The families are imported late, since they import MLX, and ``doctor`` has to start where MLX does not work.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING

from mflux_teacache.adapters.pipelines import Pipeline, commands_of, in_installed_mflux
from mflux_teacache.cli.mflux.arguments import COMPILE_BLOCKS
from mflux_teacache.cli.own.columns import WIDTH, table, wrap
from mflux_teacache.cli.own.plugin_rows import Row, describe, of_unreadable
from mflux_teacache.discovery import Unreadable, search
from mflux_teacache.teacache.calibration import shipped

if TYPE_CHECKING:
    from mflux_teacache.family import Family


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``plugins`` to the commands of ``mflux-teacache``."""
    parser = subparsers.add_parser(
        "plugins",
        help="list the installed plugins and the pipelines that they run on",
        description="Lists the installed plugins with their options, the installed mflux's pipelines with their "
        "commands, the transformer families, and TeaCache's calibrations.",
    )
    parser.add_argument("--json", action="store_true", help="print the same and more as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the tables; returns the exit code."""
    found = search()
    rows = [describe(plugin) for plugin in found.plugins]
    pipelines = in_installed_mflux()
    say = as_json if arguments.json else as_text
    print(say(rows, pipelines, found.unreadable))
    return 0


def as_json(rows: Sequence[Row], pipelines: Sequence[Pipeline], unreadable: Sequence[Unreadable] = ()) -> str:
    content = {
        "mflux": version("mflux"),
        "plugins": [asdict(row) for row in rows],
        "unreadable_packages": [package._asdict() for package in unreadable],
        "pipelines": [
            {
                "name": entry.name,
                "family": entry.family,
                "level": entry.level,
                "note": entry.note,
                "commands": commands_of(entry.name),
                "calibrations": [made.name for made in shipped().values() if entry.name in made.pipelines],
            }
            for entry in pipelines
        ],
        "families": [
            {
                "name": family.name,
                "transformer": family.transformer,
                "body": [stage.blocks for stage in family.body],
                **{fact: getattr(family, fact) for fact in ("signal", "guidance", "compiled", "compilable")},
            }
            for family in families_of(pipelines)
        ],
        "calibrations": [asdict(made) for made in shipped().values()],
    }
    return json.dumps(content, indent=2)


def as_text(rows: Sequence[Row], pipelines: Sequence[Pipeline], unreadable: Sequence[Unreadable] = ()) -> str:
    """Tables of up to 120 columns."""
    installed = [
        (row.name, row.package, row.version, f"broken: {row.error}" if row.error else " ".join(row.options))
        for row in rows
    ]
    described = [(row.name, row.kind or "-", row.description) for row in rows if row.error is None]
    supported = [
        (entry.name, entry.family or "-", entry.level, ", ".join(commands_of(entry.name))) for entry in pipelines
    ]
    families = [
        (family.name, family.signal, family.guidance, "yes" if family.compiled else "no")
        for family in families_of(pipelines)
    ]
    calibrations = [
        (made.name, made.model, ", ".join(made.pipelines), "-" if made.threshold is None else f"{made.threshold:g}")
        for made in shipped().values()
    ]
    return "\n".join(
        [
            *table(("PLUGIN", "PACKAGE", "VERSION", "OPTIONS"), installed),
            "",
            *(line for package in unreadable for line in [*wrap(of_unreadable(package), WIDTH), ""]),
            *table(("PLUGIN", "KIND", "WHAT IT DOES"), described),
            "",
            *table((f"PIPELINE OF MFLUX {version('mflux')}", "FAMILY", "SUPPORT", "COMMANDS"), supported),
            "",
            *notes(pipelines),
            "",
            *table(("FAMILY", "SIGNAL", "GUIDANCE", "COMPILED"), families),
            "",
            *wrap(_of_compiling(), WIDTH),
            "",
            *table(("CALIBRATION OF TEACACHE", "MODEL", "PIPELINES", "THRESHOLD"), calibrations),
        ]
    )


def _of_compiling() -> str:
    from mflux_teacache.adapters.families import FAMILIES

    never = ", ".join(family.name for family in FAMILIES if not family.compilable)
    return (
        f"{COMPILE_BLOCKS}, with or without plugins, compiles each block on its own where COMPILED says no, except "
        f"{never}; where it says yes, mflux compiles, except on the smaller M1 and M2."
    )


def families_of(pipelines: Iterable[Pipeline]) -> list[Family]:
    """The entries for the transformers of these pipelines."""
    from mflux_teacache.adapters.families import FAMILIES

    names = {entry.family for entry in pipelines}
    return [family for family in FAMILIES if family.name in names]


def notes(pipelines: Iterable[Pipeline]) -> list[str]:
    """One paragraph for each note: the pipelines that it is about, and its text."""
    about: dict[str, list[Pipeline]] = {}
    for entry in pipelines:
        if entry.note:
            about.setdefault(entry.note, []).append(entry)
    return [
        line
        for note, entries in about.items()
        for line in wrap(f"{', '.join(entry.name for entry in entries)}: {entries[0].level}; {note}.", WIDTH)
    ]
