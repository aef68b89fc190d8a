"""mflux's real console scripts in processes of their own, on tiny random models, with a few plugins installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cli_plugins
import numpy as np
import PIL.Image
from installed import MFLUX

HERE = Path(__file__).parent
SCRIPTS = Path(sys.executable).parent
QUIET = {
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_OFFLINE": "1",
    "MFLUX_PLUGINS": "",
    "PYTHONWARNINGS": "ignore:this run has",  # few active steps, as most images of the tests have
}

FLUX1 = ("mflux-generate", "--model", "dev")
FLUX2 = ("mflux-generate-flux2", "--model", "flux2-klein-base-4b")
# mflux up to 0.18: the sidecar of its FLUX.2 command is empty, and no -C brings width and height back.
WHOLE_SIDECARS = MFLUX >= (0, 19)
COMMAND, PIPELINE = (FLUX2, "Flux2Klein") if WHOLE_SIDECARS else (FLUX1, "Flux1")
REPLAY = ("-C",) if WHOLE_SIDECARS else ("--width", 64, "--height", 64, "-C")


@dataclass(frozen=True)
class Ran:
    """What a command did.

    Attributes:
        weights: the pipelines that it built.
    """

    code: int
    out: str
    err: str
    weights: list[str]


@dataclass(frozen=True)
class Commands:
    """Runs commands in a folder of their own.

    Attributes:
        path: what they find on PYTHONPATH.
    """

    folder: Path
    path: Sequence[Path]

    def run(self, command: str, *arguments: object, **environment: str) -> Ran:
        return self.execute([SCRIPTS / command, *arguments], **environment)

    def execute(self, words: Sequence[object], **environment: str) -> Ran:
        log = self.folder / "weights.log"
        log.write_text("")
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self.folder,
            env={
                **os.environ,
                **QUIET,
                "FAKE_WEIGHTS_LOG": str(log),
                "PYTHONPATH": os.pathsep.join(map(str, self.path)),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr, log.read_text().split())

    def pixels(self, name: str) -> Any:
        with PIL.Image.open(self.folder / name) as image:
            return np.asarray(image.convert("RGB"))

    def embedded(self, name: str) -> dict[str, Any]:
        """The metadata inside an image."""
        from mflux.utils.metadata_reader import MetadataReader

        metadata = MetadataReader.read_exif_metadata(self.folder / name)
        assert metadata is not None
        return metadata

    def sidecar(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name).read_text())


def install(folder: Path) -> None:
    """The metadata that makes ``cli_plugins`` an installed package for whoever has the folder on the path."""
    info = folder / "cli_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cli-plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(cli_plugins.ENTRY_POINTS)


def prepared(folder: Path, installed: Path) -> Commands:
    """Commands that find tiny weights and the plugins of ``cli_plugins``."""
    return Commands(folder, [HERE / "fake_weights", HERE, installed])
