"""Virtual environments that find this one's packages, with others of their own that are made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

import mflux_teacache
from mflux_teacache.cli import startup
from mflux_teacache.cli.own.doctor import start_up
from mflux_teacache.discovery import PACKAGE

STARTUP_FILE = Path(startup.__file__).with_name(start_up.file_name())


class Environment:
    """One without our start-up file.

    Attributes:
        file: where it belongs.
        index: a folder with wheels, in place of a package index.
    """

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        [packages] = folder.glob("lib/python*/site-packages")
        paths = [sysconfig.get_path("purelib"), str(Path(mflux_teacache.__file__).parents[1])]
        (packages / "those_of_the_tests.pth").write_text("\n".join(paths))
        self.file = packages / STARTUP_FILE.name
        self.index = folder / "index"
        self.index.mkdir()
        self._settings = folder / "uv.toml"
        self._settings.write_text(f"no-index = true\nfind-links = [{json.dumps(str(self.index))}]\n")

    def run(self, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        return subprocess.run(
            [str(self.python), *map(str, words)],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path, **environment},
        )

    def broken(self, part: str, **environment: str) -> list[str]:
        """What a part of doctor's page finds, such as ``versions.versions()``."""
        script = (
            "import json; from mflux_teacache.cli.own.doctor import "
            "mflux_commands, mlx_device, page, start_up, versions; "
            f"print(json.dumps(list({part}.broken)))"
        )
        ran = self.run("-c", script, **environment)
        assert ran.returncode == 0, ran.stderr
        found: list[str] = json.loads(ran.stdout.splitlines()[-1])
        return found

    def offer(self, name: str, version: str, files: Mapping[str, str], needs: str = "") -> None:
        """Put a package onto the index."""
        info, tag = f"{name.replace('-', '_')}-{version}.dist-info", "py3-none-any"
        all_files = {
            **files,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
        }
        record = "".join(f"{file},,\n" for file in (*all_files, f"{info}/RECORD"))
        with zipfile.ZipFile(self.index / f"{name.replace('-', '_')}-{version}-{tag}.whl", "w") as wheel:
            for file, content in {**all_files, f"{info}/RECORD": record}.items():
                wheel.writestr(file, content)

    def offer_ours(self) -> None:
        """Of this package what lies beside it: the package itself is found."""
        self.offer(PACKAGE, "9.9", {STARTUP_FILE.name: STARTUP_FILE.read_text()}, "Requires-Dist: numpy>=2.0\n")

    def install(self, requirement: str) -> None:
        self.do(f"uv pip install --no-deps --python '{self.python}' '{requirement}'")

    def do(self, command: str) -> str:
        """What a line prints in a shell, in which packages come from the index."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
        own = {"UV_CONFIG_FILE": str(self._settings), "UV_CACHE_DIR": str(self.index.with_name("cache"))}
        ran = subprocess.run(["sh", "-c", command], env={**others, **own}, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout
