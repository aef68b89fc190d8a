"""Which of mflux's commands runs which pipeline, read from the installed mflux without importing any of it."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mflux_teacache.adapters.pipelines import in_installed_mflux

_IMAGE_COMMANDS = ("mflux-generate", "mflux-upscale", "mflux-concept")


@cache
def commands_of(pipeline: str) -> tuple[str, ...]:
    """The commands whose module imports a pipeline class."""
    return tuple(name for name, imported in _imported_by_commands() if pipeline in imported)


@cache
def _imported_by_commands() -> tuple[tuple[str, frozenset[str]], ...]:
    pipelines = {pipeline.name for pipeline in in_installed_mflux()}
    return tuple((name, frozenset(pipelines & set(_imported(path)))) for name, path in _command_modules())


def _command_modules() -> Iterator[tuple[str, Path]]:
    spec = importlib.util.find_spec("mflux")
    folders = spec.submodule_search_locations if spec is not None else None
    for point in sorted(importlib.metadata.distribution("mflux").entry_points, key=lambda point: point.name):
        if point.group == "console_scripts" and ".cli." in point.module and point.name.startswith(_IMAGE_COMMANDS):
            _, *parts = point.module.split(".")
            for folder in folders or ():
                if (path := Path(folder, *parts).with_suffix(".py")).exists():
                    yield point.name, path


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
