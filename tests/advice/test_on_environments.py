"""Advice of doctor about an installation: provoked, followed in a shell, and seen to help."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from environments import Environment
from packaging.requirements import Requirement

from mflux_teacache.cli.own.doctor import mflux_commands
from mflux_teacache.discovery import PACKAGE

pytestmark = pytest.mark.slow

START_UP = "start_up.start_up(page.Part('MLX'))"
ANOTHER_PARSER = {
    "mflux/__init__.py": "",
    "mflux/cli/__init__.py": "",
    "mflux/cli/parser/__init__.py": "",
    "mflux/cli/parser/parsers.py": "from argparse import ArgumentParser as CommandLineParser",
}


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """With the package installed by uv from the index."""
    made = Environment(tmp_path / "environment")
    made.offer_ours()
    made.install(PACKAGE)
    return made


def commands(message: str) -> list[str]:
    return re.findall("`(.*?)`", message)


def test_a_start_up_file_that_is_missing_or_changed(environment: Environment) -> None:
    assert environment.broken(START_UP) == []
    environment.file.unlink()
    [message] = environment.broken(START_UP)
    assert "is missing. Put it back with `" in message
    put_back, until_then = commands(message)
    assert "--teacache-thresh" in environment.do(until_then.replace("NAME ...", "teacache --help"))
    environment.do(put_back)
    assert environment.broken(START_UP) == []

    environment.file.unlink()  # uv may have linked it to its cache, from which it comes back
    environment.file.write_text("import sys\n")
    [message] = environment.broken(START_UP)
    assert "does not work: it was not run. Install it anew with `" in message
    environment.do(commands(message)[0])
    assert environment.broken(START_UP) == []


def test_switched_off(environment: Environment) -> None:
    [message] = environment.broken(START_UP, MFLUX_PLUGINS="0")
    [unset] = commands(message)
    assert unset == "unset MFLUX_PLUGINS"
    environment.do(f"export MFLUX_PLUGINS=0; {unset}; [ -z ${{MFLUX_PLUGINS+set}} ]")
    assert environment.broken(START_UP) == []


def _oldest_mlx() -> str:
    """That the installed mflux takes."""
    asked = [one for one in map(Requirement, requires("mflux") or ()) if one.name == "mlx"]
    [needed] = [one for one in asked if one.marker is None or one.marker.evaluate()]
    return next(part.version for part in needed.specifier if part.operator in ("==", ">="))


def test_mlx_that_does_not_work(environment: Environment) -> None:
    environment.offer("mlx", "1.0", {"mlx/__init__.py": "raise ImportError('no such library')"})
    environment.install("mlx")
    [message] = environment.broken("mlx_device.mlx_device()")
    assert "MLX does not work here: ImportError: no such library. Install it anew with `" in message
    environment.offer("mlx", _oldest_mlx(), {})  # beside which the one of the tests is found
    environment.do(commands(message)[0])
    assert environment.broken("mlx_device.mlx_device()") == []


def test_a_command_without_a_working_mlx(environment: Environment) -> None:
    """``doctor`` says what to do, as it is told."""
    plugins = f"'{environment.python}' -m mflux_teacache.cli.own.main plugins 2>&1 || true"
    environment.offer(
        "mlx", "1.0", {"mlx/__init__.py": "", "mlx/core.py": "raise ImportError('no such library', name='mlx.core')"}
    )
    environment.install("mlx")
    assert "MLX does not work: ImportError: no such library. `mflux-teacache doctor` says" in environment.do(plugins)
    [message] = environment.broken("mlx_device.mlx_device()")
    environment.offer("mlx", _oldest_mlx(), {})
    environment.do(commands(message)[0])
    assert "first-block-cache" in environment.do(plugins)


def test_a_package_that_is_too_old(environment: Environment) -> None:
    environment.offer("numpy", "1.0", {})
    environment.install("numpy")
    [message] = environment.broken("versions.versions()")
    assert "numpy is 1.0, and mflux-teacache-plugin needs numpy>=2.0. Install it into this environment with" in message
    environment.offer("numpy", "3.0", {})
    environment.do(commands(message)[0])
    assert environment.broken("versions.versions()") == []


def test_mflux_that_cannot_be_imported(environment: Environment) -> None:
    environment.offer("mflux", "1.0", {"mflux/__init__.py": "raise ImportError('half a download')"})
    environment.install("mflux")
    [message] = environment.broken(START_UP)
    assert "cannot be imported (ImportError: half a download). Install mflux anew with `" in message
    environment.offer("mflux", "2.0", {})
    environment.do(commands(message)[0])
    assert environment.broken(START_UP) == []


def test_mflux_with_another_parser(environment: Environment) -> None:
    environment.offer("mflux", "98", {})
    environment.offer("mflux", "99", ANOTHER_PARSER)
    environment.install("mflux")
    [message] = environment.broken(START_UP)
    assert "has changed. Install a newer mflux-teacache-plugin, or an earlier mflux with `" in message
    environment.do(commands(message)[0])
    assert environment.broken(START_UP) == []


def test_mflux_of_another_environment(environment: Environment, tmp_path: Path) -> None:
    other = Environment(tmp_path / "other")
    command = other.python.with_name("mflux-generate")
    here = mflux_commands._here()
    assert here is not None
    _, *script = here.read_text().splitlines()
    command.write_text("\n".join((f"#!{other.python}", *script)))
    command.chmod(0o755)
    part, path = "mflux_commands.mflux_commands()", {"PATH": f"{command.parent}:/usr/bin:/bin"}
    [message] = environment.broken(part, **path)
    assert f"Install {PACKAGE} there too, or run {here}." in message
    assert "--teacache-thresh" in environment.do(f"{here} --plugin teacache --help")
    other.offer_ours()
    other.install(PACKAGE)
    assert environment.broken(part, **path) == []
