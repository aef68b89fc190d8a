"""Which commands and pipelines of mflux are seen, and whether the shell finds those of this environment."""

from __future__ import annotations

import shutil
from collections import Counter
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from mflux_teacache.__main__ import commands
from mflux_teacache.adapters.pipelines import commands_of, in_installed_mflux
from mflux_teacache.cli.own.doctor.page import Part, as_word
from mflux_teacache.discovery import PACKAGE

ONE = "mflux-generate"


def mflux_commands() -> Part:
    pipelines = in_installed_mflux()
    making = {command for entry in pipelines for command in commands_of(entry.name)} if pipelines else set()
    levels = Counter(entry.level for entry in pipelines)
    facts = {
        "commands": f"{len(commands())}, of which {len(making)} make images",
        "pipelines": ", ".join(f"{count} {level}" for level, count in levels.most_common()) or "none",
        **{entry.name: f"{entry.level}: {entry.note}" for entry in pipelines if entry.level == "unknown"},
    }
    here, on_path = _here(), shutil.which(ONE)
    facts[ONE] = as_word(on_path) if on_path else f"not on the PATH{f', but at {as_word(here)}' if here else ''}"
    return Part("mflux", facts, [_elsewhere(here, on_path)] if here and on_path and not _same(here, on_path) else [])


def _here() -> Path | None:
    """The console script of this environment."""
    try:
        listed = files("mflux") or []
    except PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in listed if file.stem == ONE]
    return next((path.resolve() for path in found if path.exists()), None)


def _same(here: Path, on_path: str) -> bool:
    return Path(on_path).resolve() == here


def _elsewhere(here: Path, on_path: str) -> str:
    return (
        f"{ONE} on the PATH is {as_word(on_path)}, of another environment than this one, so it may not know this "
        f"package's plugins. Install {PACKAGE} there too, or run {as_word(here)}."
    )
