"""What the first version wrote still loads, and replays to the same image.

``tests/data/first-version`` has images, sidecars, a calibration and a table of tiny random models, as that version's
commands wrote them with mflux 0.24.0.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import WHOLE_SIDECARS

from mflux_teacache.strategies.magcache import table
from mflux_teacache.teacache import calibration

DATA = Path(__file__).parents[2] / "data" / "first-version"
PATTERNS = {"teacache": "CSCSCSCSCSCC", "first-block-cache": "CSSCSSCSSC", "schedule": "CSSCSSCSC"}

pytestmark = pytest.mark.skipif(not WHOLE_SIDECARS, reason="this mflux writes and reads other sidecars")


@pytest.fixture(autouse=True)
def written(commands: Any) -> None:
    for path in DATA.iterdir():
        shutil.copy(path, commands.folder)


@pytest.mark.parametrize("name", [*PATTERNS, "replay"])
@pytest.mark.parametrize("suffix", [".metadata.json", ".png"])
def test_an_image_is_replayed(commands: Any, name: str, suffix: str) -> None:
    if name + suffix == "replay.png":
        return
    of = "teacache" if name == "replay" else name
    (commands.folder / "again.png").unlink(missing_ok=True)
    ran = commands.run(
        "mflux-generate-flux2", "-C", f"{of}.metadata.json", "--output", "again.png", "--metadata",
        *(() if suffix == ".metadata.json" else ("--plugin", "replay", "--replay-from", name + suffix)),
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert commands.embedded("again.png")["mflux_plugins"]["pattern"] == PATTERNS[of]
    # Other processors round differently.
    assert np.abs(commands.pixels("again.png").astype(int) - commands.pixels(f"{of}.png")).max() <= 1


def test_a_calibration_and_a_table_are_used(commands: Any) -> None:
    assert calibration.load(DATA / "calibration.json").r2_held_out == 0.2527
    assert table.load(DATA / "table.json").model == "black-forest-labs/FLUX.2-klein-base-4B"
    image = ("--model", "flux2-klein-base-4b", "--width", 64, "--height", 64, "--prompt", "a red apple", "--steps", 12)
    for plugin, *options in (
        ("teacache", "--teacache-calibration", "calibration.json", "--teacache-thresh", 1.0),
        ("magcache", "--magcache-table", "table.json"),
    ):
        ran = commands.run(
            "mflux-generate-flux2", *image, "--output", f"{plugin}-used.png", "--plugin", plugin, *options
        )
        assert ran.code == 0, ran.err
        assert f"{plugin}: computed" in ran.out
        assert "skipped none" not in ran.out
