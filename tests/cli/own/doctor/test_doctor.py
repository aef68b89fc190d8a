"""``mflux-teacache doctor`` in an environment of its own: as installed, with the start-up file deleted, and back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from environments import STARTUP_FILE, Environment

from mflux_teacache.cli.own import main

pytestmark = pytest.mark.slow

MODULE_FORM = ["-m", "mflux_teacache", "mflux-generate", "--plugin", "teacache", "--help"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("environment"))
    made.file.write_bytes(STARTUP_FILE.read_bytes())
    return made


def doctor(environment: Environment, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return environment.run("-m", "mflux_teacache.cli.own.main", "doctor", *words, **more)


def test_nothing_is_broken(environment: Environment) -> None:
    ran = doctor(environment)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert ran.stdout.startswith("nothing is broken\n")
    assert max(map(len, ran.stdout.splitlines())) <= 120


def test_the_start_up_file_is_deleted_and_the_named_way_round_works(environment: Environment) -> None:
    content = environment.file.read_bytes()
    environment.file.unlink()
    try:
        ran = doctor(environment, "--json")
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
    ran = doctor(environment, PYTHONPATH=str(tmp_path))
    assert ran.returncode == 1
    assert ran.stdout.startswith("1 broken\n\n 1. MLX does not work here: ImportError: no such library.")


def test_broken_plugins_are_named(plugins_in_process: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main.main(["doctor"])
    assert left.value.code == 1
    assert "plugin 'broken' of package cli-plugins 1.0 cannot be imported" in " ".join(capsys.readouterr().out.split())
