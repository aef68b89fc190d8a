"""JSON files as bench, a shadow run, tune and a recorder write them, for reports."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from preset_files import preset

from mflux_teacache.presets.preset import as_text
from mflux_teacache.shadow.report import Report, Row, as_json

MEASUREMENTS = Path(__file__).parents[2] / "docs" / "measurements"

SETTINGS: list[tuple[str, str, float, float | None]] = [
    ("teacache thresh=0.1", "teacache", 3.0, 30.0),
    ("schedule every=2", "schedule", 2.0, 25.0),
]
FEWER = [("fewer steps: 2", "fewer steps", 2.0, 27.5), ("fewer steps: 3", "fewer steps", 3.0, 28.0)]


def _entry(setting: str, series: str, computed: float, psnr: float | None) -> dict[str, Any]:
    level = {"psnr": psnr, "worst_psnr": psnr, "ssim": 0.9, "worst_ssim": 0.8}
    counts = {"forecast": 0, "images": 2, "equal": 0, "computed": computed, "steps": 4, "speed_up": 4 / computed}
    return {"setting": setting, "series": series, "reuse": None, **counts, **level}


def quality() -> dict[str, Any]:
    """Of ``bench quality``, as short as can be; ``tune`` writes the same and more."""
    return {
        "schema": 1,
        "date": "2026-11-27T12:00:00+00:00",
        "interrupted": False,
        "versions": {"mflux": "0.24.0", "mlx": "0.32.4"},
        "machine": {"system": "Darwin", "architecture": "arm64", "device": {"device_name": "M4"}},
        "model": "FLUX.1 [dev]",
        "arguments": {"num_inference_steps": 4, "width": 64, "height": 64},
        "prompts": ["a fox", "a cat"],
        "seeds": [1],
        "settings": [],
        "refusals": [],
        "runs": [],
        "summary": [_entry(*row) for row in SETTINGS],
        "fewer_steps": {"runs": [], "summary": [_entry(*row) for row in FEWER], "not_beaten_by": []},
    }


def tune() -> dict[str, Any]:
    """Of ``tune --json``: settings that each 10 times the error costs 10 dB, but for the last, which is 3 dB off."""
    settings = [("sea", {"max_computed": computed}) for computed in (4, 3, 2, 1)]
    names = [f"sea max_computed={options['max_computed']}" for _, options in settings]
    levels = (40.0, 30.0, 20.0, 13.0)
    return {
        **quality(),
        "prompts": None,
        "seeds": None,
        "speed_ups": [1.5, 2],
        "fitted": [{"prompt": "a fox", "seed": 1}],
        "checked": [{"prompt": "a cat", "seed": 2}],
        "left_out": {"magcache": "it has no table."},
        "preset": "mine",
        "candidates": [
            {"setting": {"plugin": plugin, "options": options, "forecast": 0}, "budget": 1, "error": 0.001 * 10**place}
            for place, (plugin, options) in enumerate(settings)
        ],
        "summary": [_entry(name, "sea", 2.0, level) for name, level in zip(names, levels, strict=True)],
    }


def shadow() -> dict[str, Any]:
    """Of ``--shadow-json``."""
    rows = [
        Row("teacache", 0.1, (None, 0.02, None, None)),
        Row("teacache", 0.2, (None, 0.02, 0.04, None)),
        Row("schedule", None, (None, 0.03, None, 0.05), {3: 0.25}),
    ]
    return as_json(Report(rows, {"magcache": "it has no table."}))


def calibration(changes: int = 30) -> dict[str, Any]:
    """Of ``teacache-record``."""
    shipped = files("mflux_teacache.teacache").joinpath("calibrations", "demo-emoji.json").read_text()
    pairs = [[0.03 + place / 300, 0.07 + place / 400] for place in range(changes)]
    return {**json.loads(shipped), "changes": pairs}


def speed() -> dict[str, Any]:
    return json.loads((MEASUREMENTS / "demo-cpu.json").read_text())


ALL = {
    "quality.json": quality(),
    "tune.json": tune(),
    "shadow.json": shadow(),
    "preset.json": json.loads(as_text(preset())),
    "calibration.json": calibration(),
    "speed.json": speed(),
}


def written(folder: Path) -> list[Path]:
    """All kinds of them."""
    for name, content in ALL.items():
        (folder / name).write_text(json.dumps(content))
    return [folder / name for name in ALL]
