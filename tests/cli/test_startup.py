"""What happens at the start of Python: nothing at all, except in mflux's commands."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import pytest

from mflux_teacache.cli import startup
from mflux_teacache.cli.startup import AfterImport, is_mflux_command

CLI = Path(startup.__file__).parent
START = (CLI / "mflux_teacache.start").read_text()
PTH = (CLI / "mflux_teacache.pth").read_text()

LIST_OURS = "import sys; print([name for name in sys.modules if name.startswith(('mflux', 'argparse', 'pluggy'))])"


def modules_of(script: Path, **options: object) -> list[str]:
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, **options)
    assert done.stderr == ""
    return eval(done.stdout)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/usr/bin/mflux-generate", True),
        ("mflux-generate-qwen-2.1", True),
        (r"C:\Python\Scripts\mflux-generate.exe", True),
        ("/usr/bin/mflux-teacache", False),
        (r"C:\Python\Scripts\mflux-teacache.exe", False),
        ("/opt/mflux-env/bin/pytest", False),
        ("/usr/bin/mflux", False),
        ("-c", False),
        ("", False),
    ],
)
def test_which_processes_are_meant(name, expected):
    assert is_mflux_command([name]) is expected


def test_an_embedded_python_may_have_no_arguments(monkeypatch):
    assert not is_mflux_command([])
    monkeypatch.delattr(sys, "argv")
    before = list(sys.meta_path)
    startup.start()
    exec(PTH)
    assert sys.meta_path == before


def test_any_other_process_imports_nothing_of_ours(tmp_path):
    script = tmp_path / "other.py"
    script.write_text(LIST_OURS)
    assert modules_of(script) == []


def test_a_command_of_mflux_imports_the_finder_and_nothing_else(tmp_path):
    script = tmp_path / "mflux-anything"
    script.write_text(LIST_OURS)
    assert modules_of(script) == [
        "mflux_teacache",
        "mflux_teacache.cli",
        "mflux_teacache.cli.startup",
    ]


PLAIN_LINE = """
import argparse, sys
from types import SimpleNamespace
from mflux_teacache.cli.startup import extend
class Parser(argparse.ArgumentParser):
    def add_output_arguments(self): self.add_argument("--output")
    def parse_args(self): return super().parse_args()
extend(SimpleNamespace(CommandLineParser=Parser))
sys.argv[1:] = ["--output", "a.png"]
parser = Parser()
parser.add_output_arguments()
assert vars(parser.parse_args()) == {"output": "a.png"}
"""


def test_a_command_line_without_plugins_imports_no_machinery(tmp_path):
    script = tmp_path / "plain.py"
    script.write_text(PLAIN_LINE + LIST_OURS)
    ours = [name for name in modules_of(script) if name.startswith(("mflux", "pluggy"))]
    assert sorted(ours) == [
        "mflux_teacache",
        "mflux_teacache.cli",
        "mflux_teacache.cli.mflux",
        "mflux_teacache.cli.mflux.arguments",
        "mflux_teacache.cli.startup",
    ]


def test_the_finder_is_there_once_although_a_venv_reads_its_start_up_files_twice(tmp_path):
    script = tmp_path / "mflux-anything"
    script.write_text("import sys; print([type(f).__name__ for f in sys.meta_path].count('AfterImport'))")
    assert modules_of(script) == 1


@pytest.mark.parametrize(("value", "expected"), [("0", 0), ("1", 1), ("", 1)])
def test_the_environment_can_switch_it_off(tmp_path, monkeypatch, value, expected):
    monkeypatch.setattr(sys, "argv", ["mflux-generate"])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setenv("MFLUX_PLUGINS", value)
    startup.start()
    assert [type(finder) for finder in sys.meta_path].count(AfterImport) == expected


def test_the_start_up_file_says_in_one_line_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mflux-generate"])
    monkeypatch.setitem(sys.modules, "mflux_teacache.cli.startup", None)
    exec(PTH)
    assert capsys.readouterr().err.startswith("mflux_teacache: --plugin is off: ModuleNotFoundError(")


def test_the_start_up_files_are_what_python_reads():
    assert PTH.startswith("import ")
    assert PTH.count("\n") == 1
    assert [pkgutil.resolve_name(entry) for entry in START.split()] == [startup.start]


def test_the_start_up_files_are_installed_beside_the_package():
    installed = files("mflux-teacache-plugin")
    assert installed is not None
    for name in ("mflux_teacache.pth", "mflux_teacache.start"):
        [path] = [file for file in installed if str(file) == name]
        assert path.read_text() == (CLI / name).read_text()


# --- Somebody else's module is acted on right after its import, and imported as ever ---


def test_a_module_is_acted_on_right_after_its_import(tmp_path, monkeypatch):
    (tmp_path / "acted_on.py").write_text("value = 1")
    (tmp_path / "left_alone.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    first = AfterImport("acted_on".__eq__, lambda module: seen.append(("first", module.value)))
    second = AfterImport("acted_on".__eq__, lambda module: seen.append(("second", module.value)))
    monkeypatch.setattr(sys, "meta_path", [first, second, *sys.meta_path])

    import acted_on
    import left_alone

    assert seen == [("second", 1), ("first", 1)]
    assert type(acted_on.__loader__) is type(acted_on.__spec__.loader) is type(left_alone.__loader__)
    assert acted_on.__spec__.loader.get_source("acted_on") == "value = 1"


def test_a_module_that_fails_or_is_missing_fails_as_ever(tmp_path, monkeypatch):
    (tmp_path / "fails_on_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    finder = AfterImport({"fails_on_import", "is_not_there"}.__contains__, seen.append)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])

    with pytest.raises(ZeroDivisionError):
        import fails_on_import  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="No module named 'is_not_there'"):
        import is_not_there  # noqa: F401
    assert seen == []
