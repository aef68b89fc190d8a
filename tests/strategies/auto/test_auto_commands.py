"""``--plugin auto`` with mflux's real console scripts: what it prints, records, and repeats."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import COMMAND, PIPELINE, WHOLE_SIDECARS
from preset_files import EVIDENCE, preset

from mflux_teacache.presets.preset import PresetKey, Setting, as_text
from mflux_teacache.presets.store import VARIABLE

IMAGE = ("--prompt", "apple", "--width", 256, "--height", 256, "--steps", 12, "--guidance", 4, "--seed", 1)
SECONDS = r"\d+\.\d s of denoising"
PATTERN = "CCSCSSCSSSSC"
AGAIN = ("-C",) if WHOLE_SIDECARS else ("--width", 256, "--height", 256, "-C")
MODEL = {"Flux1": "black-forest-labs/FLUX.1-dev", "Flux2Klein": "black-forest-labs/FLUX.2-klein-base-4B"}[PIPELINE]


@pytest.fixture
def data(commands: Any) -> Path:
    """A data directory with a preset for this very run."""
    key = PresetKey(model=MODEL, pipeline=PIPELINE, width=256, height=256, steps=12, guidance=4.0)
    setting = Setting(plugin="schedule", options={"pattern": PATTERN}, computed=5, steps=12, evidence=EVIDENCE)
    path: Path = commands.folder / "data" / "presets" / "mine.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_text(preset(key=key, settings=(setting,))))
    return path.parent.parent


def test_without_a_number(commands: Any) -> None:
    ran = commands.run(*COMMAND, *IMAGE, "--plugin", "auto", "--metadata", "--output", "rule.png")
    assert ran.code == 0, ran.err
    how = r"--auto-level balanced, (sea|schedule) reuse=output: (a rule, not measured on this model|plan .*)"
    assert re.search(rf"(?m)^auto: computed 6 of 12 steps, skipped 6 \({how}, {SECONDS}\)$", ran.out), ran.out
    recorded = commands.embedded("rule.png")["mflux_plugins"]
    assert recorded["plugins"]["auto"]["values"]["source"] in ("rule", "published")
    assert recorded["plugins"]["auto"]["values"]["options"] == {"reuse": "output", "max_computed": 6}

    again = commands.run(COMMAND[0], *AGAIN, "rule.metadata.json", "--metadata", "--output", "again.png")
    assert again.code == 0, again.err
    assert again.out.startswith("replay: computed 6 of 12 steps, skipped 6 (as auto did in rule.metadata.json, ")
    assert np.array_equal(commands.pixels("again.png"), commands.pixels("rule.png"))


def test_with_a_preset(commands: Any, data: Path) -> None:
    arguments = (*COMMAND, *IMAGE, "--plugin", "auto", "--auto-speedup", 2.4)
    ran = commands.run(*arguments, "--metadata", "--output", "preset.png", **{VARIABLE: str(data)})
    assert ran.code == 0, ran.err
    assert "warning" not in ran.err
    how = r"--auto-speedup 2.4, schedule: preset mine, measured on 4 images: 31.5 dB in the mean, 27.0 dB at worst"
    assert re.search(rf"(?m)^auto: computed 5 of 12 steps, skipped 7 \({how}, {SECONDS}\)$", ran.out), ran.out
    assert commands.embedded("preset.png")["mflux_plugins"]["pattern"] == PATTERN

    again = commands.run(COMMAND[0], *AGAIN, "preset.metadata.json", "--metadata", "--output", "preset-again.png")
    assert again.code == 0, again.err  # the preset is not there any more, and is not needed
    assert np.array_equal(commands.pixels("preset-again.png"), commands.pixels("preset.png"))

    other = commands.run(
        *(COMMAND[0], *AGAIN, "preset.metadata.json", "--auto-level", "quality", "--output", "other.png"),
        **{VARIABLE: str(data)},
    )
    assert other.code == 0, other.err
    assert "auto: computed 8 of 12 steps, skipped 4 (--auto-level quality, schedule: preset mine, " in other.out


def test_what_differs_from_the_preset_is_said_before_anything_is_loaded(commands: Any, data: Path) -> None:
    ran = commands.run(*COMMAND, *IMAGE, "--plugin", "auto", "-q", 8, "--auto-seconds", 0, **{VARIABLE: str(data)})
    assert (ran.code, ran.weights) == (2, [])
    assert "--auto-seconds: '0' is not a finite number above 0, such as 20" in ran.err
    ran = commands.run(*COMMAND, *IMAGE, "--plugin", "auto", "-q", 8, **{VARIABLE: str(data)})
    assert ran.code == 0, ran.err
    [said] = [line for line in ran.err.splitlines() if "warning" in line]
    assert said.startswith(
        f"{COMMAND[0]}: warning: auto takes its setting from the preset mine, which was made with no quantisation in "
        f"place of 8 bits. Compare an image with one of a full run"
    )


def test_seconds_and_a_second_image(commands: Any) -> None:
    ran = commands.run(*COMMAND, *IMAGE, 2, "--plugin", "auto", "--auto-seconds", 0.001, "--output", "seconds.png")
    assert ran.code == 0, ran.err
    lines = re.findall(r"(?m)^auto: computed (\d+) of 12 steps, .* \(--auto-seconds 0.001, ", ran.out)
    first, second = map(int, lines)
    assert 2 < first < 5  # before it knows what steps take, and as few as a cap allows
    assert second == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--auto-speedup", 7), "--auto-speedup 7 asks to compute 1 of 12 active steps"),
        (("--auto-level", "slow"), "invalid choice: 'slow' (choose from quality, balanced, fast)"),
        (("--auto-speedup", 2, "--auto-level", "fast"), "not allowed with argument"),
        (("--auto-levle", "fast"), "Did you mean --auto-level?"),
    ],
)
def test_refused_before_anything_is_loaded(commands: Any, options: tuple[object, ...], message: str) -> None:
    ran = commands.run(*COMMAND, *IMAGE, "--plugin", "auto", *options)
    assert (ran.code, ran.weights) == (2, [])
    assert message in ran.err.replace("'quality', 'balanced', 'fast'", "quality, balanced, fast")
    assert "Traceback" not in ran.err


def test_the_help_has_its_options_and_levels(commands: Any) -> None:
    ran = commands.run(COMMAND[0], "--plugin", "auto", "--help")
    assert "--auto-level {quality,balanced,fast}" in ran.out
    assert "quality 1.5x, balanced 2x, fast 3x fewer" in " ".join(ran.out.split())


def test_the_bar_shows_what_is_skipped(commands: Any) -> None:
    arguments = (*COMMAND, *IMAGE, "--output", "bar.png")
    ran = commands.run(*arguments, "--plugin", "auto", TQDM_DISABLE="", TQDM_MININTERVAL="0")
    assert re.search(r"12/12 \[.*, skipped 6\]", ran.err), ran.err
    watched = commands.run(*arguments, "--plugin", "shadow", TQDM_DISABLE="")
    assert "skipped" not in watched.err
