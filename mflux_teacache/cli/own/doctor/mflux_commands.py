"""Which commands and pipelines of mflux are seen, and whether the shell finds those of this environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from mflux_teacache.__main__ import commands
from mflux_teacache.adapters.pipelines import commands_of, in_installed_mflux
from mflux_teacache.cli.mflux.arguments import OPTION
from mflux_teacache.cli.own.doctor.page import Part
from mflux_teacache.cli.own.doctor.probe import PATIENCE
from mflux_teacache.cli.startup import OFF
from mflux_teacache.discovery import PACKAGE
from mflux_teacache.spelling import as_word

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
    if not here or not on_path or Path(on_path).resolve() == here or _knows_plugins(on_path):
        return Part("mflux", facts)
    return Part("mflux", facts, [_elsewhere(here, on_path)])


def _here() -> Path | None:
    """The console script of this environment."""
    try:
        listed = files("mflux") or []
    except PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in listed if file.stem == ONE]
    return next((path.resolve() for path in found if path.exists()), None)


def _knows_plugins(command: str) -> bool:
    """Whether this package is beside a command of another environment too."""
    environment = {name: value for name, value in os.environ.items() if name != OFF}
    try:
        done = subprocess.run(
            [command, "--help"], capture_output=True, text=True, errors="replace", timeout=PATIENCE, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return OPTION in done.stdout


def _elsewhere(here: Path, on_path: str) -> str:
    return (
        f"{ONE} on the PATH is {as_word(on_path)}, of another environment than this one, and does not know "
        f"{OPTION}. Install {PACKAGE} there too, or run {as_word(here)}."
    )
