"""No module imports one that leads back to it, and no part of the package does: imports for types and late ones too."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mflux_teacache

ROOT = Path(mflux_teacache.__file__).parent


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


# Without those that are run, and that nobody imports.
MODULES = {module_of(path): path for path in ROOT.rglob("*.py") if path.name != "__main__.py"}


def imports(name: str) -> Iterator[str]:
    """The modules of the package that one of them names in an import."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def graph(group: Callable[[str], str]) -> dict[str, set[str]]:
    """What each group of modules imports of others. The package itself loads its names when they are asked for."""
    found: dict[str, set[str]] = {}
    for name in MODULES.keys() - {"mflux_teacache"}:
        groups = {group(other) for other in imports(name) if other in MODULES and other != "mflux_teacache"}
        found.setdefault(group(name), set()).update(groups - {group(name)})
    return found


def part(name: str) -> str:
    """A module right in the package, or a folder of it."""
    return name.split(".")[1]


@pytest.mark.parametrize("group", [str, part], ids=["modules", "parts"])
def test_there_is_no_import_circle(group: Callable[[str], str]) -> None:
    try:
        TopologicalSorter(graph(group)).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_imports_are_found() -> None:
    assert "mflux_teacache.errors" in set(imports("mflux_teacache.plugins"))
    assert "mflux_teacache.image_record.keys" in set(imports("mflux_teacache.image_record.read"))
    assert part("mflux_teacache.cli.mflux.session") == "cli"
