"""The plugin beside mflux as a tool of uv, from this checkout: mflux's commands get ``--plugin``, and ours is there."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_mflux_as_a_uv_tool_with_the_plugin(tmp_path: Path) -> None:
    overrides = tmp_path / "overrides.txt"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    overrides.write_text("\n".join(settings["override-dependencies"]))
    environment = {**os.environ, "UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    subprocess.run(
        [
            *("uv", "tool", "install", "--quiet", "mflux", "--with-executables-from", "mflux-teacache-plugin"),
            *("--with", str(ROOT), "--overrides", str(overrides)),
        ],
        env=environment,
        check=True,
        capture_output=True,
    )
    help_text = subprocess.run(
        [tmp_path / "bin" / "mflux-generate", "--plugin", "teacache", "--help"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "--teacache-thresh" in help_text
    checked = subprocess.run(
        [tmp_path / "bin" / "mflux-teacache", "doctor"],
        env={**environment, "PATH": os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])},
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout
