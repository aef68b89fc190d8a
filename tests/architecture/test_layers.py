"""Which way imports go: read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import pytest

import mflux_teacache

ROOT = Path(mflux_teacache.__file__).parent
CONTRACT = {"about", "errors", "hookspecs", "pieces", "records", "step"}

# A part (file or folder) and what of the package it may import, for its types as well.
ALLOWED = {
    "about": set(),
    "addresses": set(),
    "errors": {"spelling"},
    "messages": {"errors", "spelling"},
    "spelling": set(),
    "discovery": {"errors", "messages", "spelling"},
    "installation": {"discovery", "spelling"},
    "words": {"errors"},
    "records": set(),
    "step": {"errors", "records"},
    "stats": {"records"},
    "family": {"records"},
    "entry_fields": {"errors", "family", "pieces", "spelling"},
    "forward": set(),
    "hookspecs": {"family", "records", "step"},
    "pieces": {
        "about",
        "addresses",
        "discovery",
        "errors",
        "hookspecs",
        "messages",
        "pieces",
        "records",
        "spelling",
        "step",
    },
    "plugins": {"about", "addresses", "discovery", "errors", "hookspecs", "messages", "records", "spelling"},
    "options": {"errors", "messages", "plugins", "spelling", "words"},
    "presets": {"errors", "messages", "options", "pieces", "plugins", "presets", "records", "spelling", "words"},
    "image_record": {
        *("adapters", "errors", "image_record", "messages", "options", "pieces", "plugins", "records", "spelling"),
        "words",
    },
    "charts": {"charts", "drawing", "image_quality", "records"},
    "show": {
        *(
            "charts",
            "discovery",
            "errors",
            "image_quality",
            "image_record",
            "installation",
            "pieces",
            "records",
            "show",
        ),
        *("spelling", "text_tables"),
    },
    "report": {
        *("bench", "charts", "discovery", "errors", "image_record", "pieces", "presets", "report", "shadow", "show"),
        *("spelling", "teacache"),
    },
    "runtime": {"errors", "forward", "messages", "pieces", "plugins", "records", "spelling", "step"},
    "adapters": {"adapters", "addresses", "errors", "family", "forward", "records", "runtime", "spelling"},
    "adapters/seam": {"adapters", "errors", "family", "forward", "records", "runtime"},
    "teacache": {*CONTRACT, "spelling", "teacache"},
    "strategies": {*CONTRACT, "image_record", "options", "plugins", "presets", "spelling", "strategies"},
    "bench/follow": {*CONTRACT, "teacache"},
    "bench/patterns": {"errors", "pieces"},
    "bench/runs": {"errors"},
    "bench/figures": {"bench", "image_quality"},
    "bench/tables": {"bench", "text_tables"},
    "bench/pictures": {"bench", "drawing", "image_quality"},
    "drawing": set(),
    "image_quality": set(),
    "text_tables": set(),
    # A host of its own: it loads, attaches and calls other plugins.
    "shadow": {
        *("about", "drawing", "errors", "hookspecs", "messages", "options", "pieces", "plugins", "records", "runtime"),
        *("shadow", "spelling", "step", "text_tables"),
    },
    "tune": {
        *("about", "bench", "demo", "errors", "handle", "hookspecs", "image_quality", "pieces", "plugins", "presets"),
        *("records", "shadow", "spelling", "step", "strategies", "teacache", "text_tables", "tune"),
    },
    "handle": {
        *("adapters", "errors", "family", "image_record", "messages", "plugins", "records", "runtime", "spelling"),
        "stats",
    },
    "attachment": {"discovery", "errors", "handle", "options", "plugins"},
    "summary": {"messages", "options", "plugins", "records", "spelling"},
    "cli/startup": {"adapters", "cli", "messages"},
    "cli/own/doctor": {
        "__main__",
        "adapters",
        "addresses",
        "cli",
        "discovery",
        "errors",
        "installation",
        "messages",
        "pieces",
        "presets",
        "spelling",
    },
}


def _imports(path: Path, *, typing_too: bool = False) -> Iterator[str]:
    """Names of modules, and of what is taken from a package, which may be modules."""
    for node in _nodes(ast.parse(path.read_text()), typing_too):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _nodes(tree: ast.AST, typing_too: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing_too:
            continue
        yield node
        yield from _nodes(node, typing_too)


def _files(part: str) -> list[Path]:
    return sorted((ROOT / part).rglob("*.py")) or [ROOT / f"{part}.py"]


def test_the_walk_finds_imports() -> None:
    assert "mflux_teacache.errors" in set(_imports(ROOT / "plugins.py"))
    assert "mlx.core" not in set(_imports(ROOT / "step.py"))
    assert "mlx.core" in set(_imports(ROOT / "step.py", typing_too=True))


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_it_may(part: str) -> None:
    for path in _files(part):
        ours = {name.split(".")[1] for name in _imports(path, typing_too=True) if name.startswith("mflux_teacache.")}
        assert ours <= ALLOWED[part], path


def _circles(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
    """The sets of names that reach each other."""
    reached = {name: _reached(name, graph) for name in graph}
    circles = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return sorted(sorted(circle) for circle in circles if len(circle) > 1)


def _reached(start: str, graph: Mapping[str, Collection[str]]) -> set[str]:
    seen, left = {start}, [start]
    while left:
        new = set(graph[left.pop()]) - seen
        seen |= new
        left += new
    return seen


def test_circles_are_found() -> None:
    graph = {"a": "b", "b": "cd", "c": "a", "d": "e", "e": "d", "f": "a"}
    assert _circles(graph) == [["a", "b", "c"], ["d", "e"]]


def test_what_is_allowed_goes_one_way() -> None:
    parts = {
        part: {other for other in allowed if other in ALLOWED and other != part} for part, allowed in ALLOWED.items()
    }
    assert _circles(parts) == []


def _modules() -> dict[str, Path]:
    """By name, without what is run and nobody imports, and the package itself, which loads its names late."""
    paths = [path for path in ROOT.rglob("*.py") if path.name != "__main__.py"]
    names = {path: path.relative_to(ROOT.parent).with_suffix("").parts for path in paths}
    return {
        ".".join(name).removesuffix(".__init__"): path
        for path, name in names.items()
        if len(name) > 2 or name[-1] != "__init__"
    }


def _part(module: str) -> str:
    """A module right in the package, or a folder of it."""
    return module.split(".")[1]


@pytest.mark.parametrize("group", [str, _part], ids=["modules", "parts"])
def test_no_two_import_each_other_not_even_for_their_types(group: Callable[[str], str]) -> None:
    modules = _modules()
    graph: dict[str, set[str]] = {group(name): set() for name in modules}
    for name, path in modules.items():
        graph[group(name)] |= {group(other) for other in _imports(path, typing_too=True) if other in modules}
    assert group("mflux_teacache.runtime") in graph[group("mflux_teacache.adapters.seam.image")]
    assert group("mflux_teacache.family") in graph[group("mflux_teacache.hookspecs")]
    assert _circles(graph) == []


def test_no_test_imports_a_test() -> None:
    """What they share is in tests/support."""
    paths = list(Path(__file__).parents[1].rglob("*.py"))
    tests = {path.stem for path in paths if path.stem.startswith("test_")}
    assert Path(__file__).stem in tests
    for path in paths:
        assert tests.isdisjoint(_imports(path)), path


def test_only_adapters_command_line_demo_and_bench_know_mflux() -> None:
    for path in ROOT.rglob("*.py"):
        knows = any(name == "mflux" or name.startswith("mflux.") for name in _imports(path))
        assert not knows or path.relative_to(ROOT).parts[0] in ("adapters", "bench", "cli", "demo"), path


PURE = (
    *(
        "pieces/forecast.py",
        "pieces/limits.py",
        "pieces/verdict.py",
        "pieces/option_types.py",
        "pieces/input_files.py",
        "pieces/output_files.py",
        "pieces/budget.py",
        "pieces/controller.py",
        "pieces/patterns.py",
        "presets/nearest.py",
        "presets/preset.py",
        "presets/reading.py",
        "presets/settings.py",
        "presets/store.py",
        "about.py",
        "strategies/schedule/plans.py",
        "shadow/report.py",
        "image_record/steps.py",
        "bench/patterns.py",
        "bench/runs.py",
        "bench/baseline.py",
        "bench/figures.py",
        "bench/tables.py",
        "tune/order.py",
        "tune/prompts.py",
        "tune/recorded.py",
        "tune/work.py",
        "text_tables.py",
    ),
    *(str(path.relative_to(ROOT)) for path in ROOT.rglob("policy.py")),
)


@pytest.mark.parametrize("path", PURE)
def test_what_is_pure(path: str) -> None:
    imported = {name.split(".")[0] for name in _imports(ROOT / path)}
    assert imported.isdisjoint({"mlx", "numpy", "mflux", "time", "logging", "random"})
    assert not {"mflux_teacache.pieces.cache", "mflux_teacache.pieces.strategy"} & set(_imports(ROOT / path))


WRITES = {"write_text", "write_bytes", "savefig", "save_file", "save_safetensors", "savez", "imsave"}


def _written_by_itself(path: Path) -> Iterator[str]:
    for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = [argument.value for argument in ast.walk(call) if isinstance(argument, ast.Constant)]
        modes = [value for value in given if isinstance(value, str) and set(value) & set("wax+") and len(value) <= 3]
        if name in WRITES or (name == "open" and modes):
            yield f"{path.relative_to(ROOT)}:{call.lineno} {ast.unparse(call.func)}"


def test_every_file_is_written_by_the_one_function_that_leaves_none_half() -> None:
    found = [place for path in sorted(ROOT.rglob("*.py")) for place in _written_by_itself(path)]
    assert [place.partition(":")[0] for place in found] == ["pieces/output_files.py"] * 3, found


def test_hookspecs_have_no_logic() -> None:
    tree = ast.parse((ROOT / "hookspecs.py").read_text())
    for function in [node for node in tree.body if isinstance(node, ast.FunctionDef)]:
        [body] = function.body
        assert isinstance(body, ast.Expr), function.name
        assert isinstance(body.value, ast.Constant), function.name


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = "import sys, mflux_teacache; print(sorted({'pluggy', 'mlx', 'mflux', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_loads() -> None:
    for name in mflux_teacache.__all__:
        assert getattr(mflux_teacache, name).__module__.startswith("mflux_teacache.") or name == "hookimpl"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mflux_teacache.nothing
    assert set(mflux_teacache.__all__) <= set(dir(mflux_teacache))
