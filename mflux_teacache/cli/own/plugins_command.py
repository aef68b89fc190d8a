"""``mflux-teacache plugins`` shows which plugins are installed, and on which of mflux's pipelines plugins run."""

from __future__ import annotations

import argparse
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from mflux_teacache import plugins
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import Pipeline, commands_of, in_installed_mflux
from mflux_teacache.cli.mflux.arguments import COMPILE_BLOCKS
from mflux_teacache.discovery import Installed, Unreadable, search
from mflux_teacache.errors import PluginError
from mflux_teacache.family import Family
from mflux_teacache.options import Declared
from mflux_teacache.spelling import visible
from mflux_teacache.teacache.calibration import shipped
from mflux_teacache.text_tables import aligned

SPACE = "  "
WIDTH = 120
MIN_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Row:
    """An installed plugin.

    Attributes:
        options: as they are written on a command line.
        error: why it cannot be used; ``None`` if it can.
        kind: the kind in its record; else ``strategy`` if its class decides, and ``tool`` if it does not. ``None`` for
            a factory without a record.
        description: the description in its record; else the first sentence of its class's docstring.
    """

    name: str
    package: str
    version: str
    options: tuple[str, ...] = ()
    error: str | None = None
    kind: str | None = None
    description: str = ""


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


def describe(plugin: Installed) -> Row:
    """Import a plugin and read its options; one that is broken is described by its error."""
    try:
        loaded = plugins.load(plugin.name)
        flags = tuple(action.option_strings[0] for action in Declared(loaded).actions)
        about = loaded.about
    except PluginError as error:
        return Row(plugin.name, plugin.package, plugin.version, error=str(error))
    kind, description = about.kind or _kind(loaded.factory), about.description or _first_sentence(loaded.factory)
    return Row(plugin.name, plugin.package, plugin.version, flags, None, kind, description)


def _kind(factory: Callable[[], Any]) -> str | None:
    """The kind of a plugin without a record, judged by its hooks; ``None`` if it cannot be told."""
    if not isinstance(factory, type):  # the hooks of what a factory makes are only known once it has made it
        return None
    return "strategy" if hasattr(factory, plugins.DECIDES) else "tool"


def _first_sentence(documented: object) -> str:
    text = " ".join((inspect.getdoc(documented) or "").split())
    first, stop, _ = text.partition(". ")
    return f"{first}." if stop else first


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
            *(line for package in unreadable for line in _of_unreadable(package)),
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


def _of_unreadable(package: Unreadable) -> list[str]:
    text = (
        f"{package.package}: its plugins, if it has some, are not known, since its entry points cannot be read "
        f"({package.problem}). Reinstall or remove that package."
    )
    return [*wrap(text, WIDTH), ""]


def _of_compiling() -> str:
    never = ", ".join(family.name for family in FAMILIES if not family.compilable)
    return (
        f"{COMPILE_BLOCKS}, with or without plugins, compiles each block on its own where COMPILED says no, except "
        f"{never}; where it says yes, mflux compiles, except on the smaller M1 and M2."
    )


def families_of(pipelines: Iterable[Pipeline]) -> list[Family]:
    """The entries for the transformers of these pipelines."""
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


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns. A last column that is too wide continues below itself."""
    lines = [list(heading), *([visible(cell) for cell in row] for row in rows)]
    left = sum(max(map(len, column)) + len(SPACE) for column in list(zip(*lines, strict=True))[:-1])
    split: list[list[str]] = []
    for *cells, last in lines:
        first, *more = wrap(last, max(WIDTH - left, MIN_WIDTH)) or [""]
        split += [[*cells, first], *([*("" for _ in cells), line] for line in more)]
    return aligned(split, left=len(heading), gap=SPACE)


def wrap(text: str, width: int) -> list[str]:
    """The text in lines."""
    # They break only at spaces, so that options and commands can be copied whole.
    return textwrap.wrap(visible(text), width, break_long_words=False, break_on_hyphens=False)
