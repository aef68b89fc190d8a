"""Images and sidecars as mflux writes them, made up: for ``show`` and ``report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image

from mflux_teacache.image_record import steps
from mflux_teacache.records import StepRecord

RECORDS = (
    StepRecord(index=0, sigma=1.0, decision="forced", reason="first steps", seconds=2.0),
    StepRecord(index=1, sigma=0.5, decision="skipped", reason="under it", change=0.25, threshold=0.5, seconds=0.125),
    StepRecord(index=2, sigma=0.25, decision="computed", reason="reached it", change=0.75, threshold=0.5, seconds=1.0),
)
MADE: dict[str, Any] = {
    "mflux_version": "0.24.0",
    "model": "black-forest-labs/FLUX.1-dev",
    "quantize": 8,
    "seed": 7,
    "steps": 3,
    "guidance": 3.5,
    "width": 16,
    "height": 16,
    "prompt": "a lighthouse",
    "lora_paths": ["/home/someone/style.safetensors"],
    "lora_scales": [0.5],
}
ENTRY: dict[str, Any] = {
    "schema": 1,
    "pattern": "CSC",
    "decider": "first-block-cache",
    "residual_after": 1,
    "plugins": {
        "first-block-cache": {
            "package": "mflux-teacache-plugin",
            "version": "0.1.0",
            "options": {"thresh": 0.5, "skip_first": 1, "speedup": None, "force": False},
            "values": {"forecast": 0, "cache_dtype": None, "skip_first": 1},
        }
    },
    "steps": steps.as_json(RECORDS),
}
FAST = {**MADE, "mflux_plugins": ENTRY}


def sidecar(folder: Path, name: str = "a.metadata.json", **changed: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps({**FAST, **changed}))
    return path


def image(folder: Path, name: str, made: dict[str, Any] | None, shade: int = 90, side: int = 16) -> Path:
    """A PNG with mflux's metadata, as mflux embeds them; ``None`` for one without."""
    import piexif

    path = folder / name
    picture = PIL.Image.new("RGB", (side, side), (shade, 90, 90))
    if made is None:
        picture.save(path)
    else:
        comment = {piexif.ExifIFD.UserComment: b"ASCII\x00\x00\x00" + json.dumps(made).encode()}
        picture.save(path, exif=piexif.dump({"Exif": comment}))
    return path
