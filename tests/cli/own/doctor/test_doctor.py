"""``mflux-teacache doctor`` in an environment of its own: as installed, with the start-up file deleted, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import mflux_teacache
from mflux_teacache.cli import startup
from mflux_teacache.cli.own import main
from mflux_teacache.cli.own.doctor import start_up

pytestmark = pytest.mark.slow

CLI = Path(startup.__file__).parent
MODULE_FORM = ["-m", "mflux_teacache", "mflux-generate", "--plugin", "teacache", "--help"]


class Environment:
    """A virtual environment that finds this one's packages, and has its own start-up file."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        [packages] = folder.glob("lib/python*/site-packages")
        paths = [sysconfig.get_path("purelib"), str(Path(mflux_teacache.__file__).parents[1])]
        (packages / "those_of_the_tests.pth").write_text("\n".join(paths))
        self.file = packages / start_up.file_name()
        self.file.write_bytes((CLI / self.file.name).read_bytes())

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        return subprocess.run(
            [self.python, *words], capture_output=True, text=True, env={**os.environ, "PATH": path, **environment}
        )

    def doctor(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "mflux_teacache.cli.own.main", "doctor", *words, **environment)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"))


def test_nothing_is_broken(environment: Environment) -> None:
    ran = environment.doctor()
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert ran.stdout.startswith("nothing is broken\n")
    assert max(map(len, ran.stdout.splitlines())) <= 120


def test_the_start_up_file_is_deleted_and_the_named_way_round_works(environment: Environment) -> None:
    content = environment.file.read_bytes()
    environment.file.unlink()
    try:
        ran = environment.doctor("--json")
        helped = environment.run(*MODULE_FORM)
    finally:
        environment.file.write_bytes(content)
    assert ran.returncode == 1
    [broken] = json.loads(ran.stdout)["broken"]
    assert f"the start-up file {environment.file.name} is missing. Put it back with `" in broken
    assert broken.endswith("python -m mflux_teacache mflux-generate --plugin NAME ...` works.")
    assert "--teacache-thresh" in helped.stdout


def test_it_runs_where_mlx_does_not(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").write_text("raise ImportError('no such library')")
    ran = environment.doctor(PYTHONPATH=str(tmp_path))
    assert ran.returncode == 1
    assert ran.stdout.startswith("1 broken\n\n 1. MLX does not work here: ImportError: no such library.")


def test_broken_plugins_are_named(plugins_in_process: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main.main(["doctor"])
    assert left.value.code == 1
    assert "plugin 'broken' of package cli-plugins 1.0 cannot be imported" in " ".join(capsys.readouterr().out.split())
