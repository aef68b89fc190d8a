"""A stranger's package, pip-installed beside ours into a new environment, and run by mflux's own command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
TESTS = HERE.parent
PROJECT = TESTS.parent

Run = Callable[..., str]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of console scripts of an environment that has mflux, our package and the stranger's."""
    uv = shutil.which("uv")
    assert uv is not None, "this test makes a virtual environment with uv: pip install uv"
    folder = tmp_path_factory.mktemp("environment")
    overrides = folder / "overrides.txt"
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["uv"]
    overrides.write_text("\n".join(settings["override-dependencies"]))
    python = folder / "venv" / "bin" / "python"
    fresh = ("--refresh-package", "mflux-teacache-plugin", "--refresh-package", "every-second")
    for words in (
        ("venv", "--python", sys.executable, folder / "venv"),
        ("pip", "install", "--python", python, "--overrides", overrides, *fresh, PROJECT, HERE / "every_second"),
    ):
        subprocess.run([uv, *words], check=True, capture_output=True, text=True, cwd=folder)
    return python.parent


@pytest.fixture(scope="module")
def run(scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("images")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MFLUX", "VIRTUAL"))},
        "PYTHONPATH": os.pathsep.join(map(str, (TESTS / "support" / "fake_weights", TESTS / "support"))),
        "FAKE_WEIGHTS_LOG": str(folder / "weights.log"),
        "TQDM_DISABLE": "1",
    }

    def run(command: str, *arguments: object) -> str:
        words = [str(word) for word in (scripts / command, *arguments)]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_its_plugin_works_with_mfluxs_own_command(run, tmp_path):
    said = run(
        *("mflux-generate-flux2", "--plugin", "every-second", "--model", "flux2-klein-base-4b", "--prompt", "apple"),
        *("--steps", 5, "--width", 32, "--height", 32, "--seed", 1, "--metadata", "--output", tmp_path / "image.png"),
    )
    assert re.match(r"every-second: computed 3 of 5 steps, skipped 2 \(\d+\.\d s of denoising\)\n", said)
    recorded = json.loads((tmp_path / "image.metadata.json").read_text())["mflux_plugins"]
    assert recorded["pattern"] == "CSCSC"
    assert recorded["plugins"] == {
        "every-second": {"package": "every-second", "version": "0.3.0", "options": {}, "values": {}}
    }


def test_it_is_listed(run):
    rows = [line.split() for line in run("mflux-teacache", "plugins").splitlines()]
    assert ["every-second", "every-second", "0.3.0"] in rows


def test_ours_is_installed_there_with_its_start_up_files(scripts):
    [site_packages] = scripts.parent.glob("lib/python*/site-packages")
    assert {path.name for path in site_packages.glob("mflux_teacache*")} >= {
        "mflux_teacache",
        "mflux_teacache.pth",
        "mflux_teacache.start",
    }
