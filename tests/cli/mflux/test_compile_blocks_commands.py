"""``--plugin-compile-blocks`` with mflux's real console scripts: the image within rounding, recorded, brought back."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from installed import MFLUX

FLUX1 = ("mflux-generate", "--model", "dev")
FLUX2 = ("mflux-generate-flux2", "--model", "flux2-klein-base-4b")
IMAGE = ("--prompt", "apple", "--width", 64, "--height", 64, "--steps", 4, "--seed", 1, "--metadata")
# mflux up to 0.18: no -C brings width and height back.
REPLAY = (FLUX1[0], *(() if MFLUX >= (0, 19) else ("--width", 64, "--height", 64)), "-C", "compiled.metadata.json")
ON = "--plugin-compile-blocks"
OFF = "--no-plugin-compile-blocks"
ALTERNATE = ("--plugin", "alternate", "--alternate-every", 3)
RECORD = {
    "schema": 1,
    "pattern": "CCCC",
    "decider": None,
    "residual_after": 0,
    "plugins": {},
    "compile_blocks": True,
}
LINE = r"compiled blocks: 4 steps \(\d+\.\d s of denoising\)\n"


def same_pixels(commands: Any, one: str, other: str) -> bool:
    return np.array_equal(commands.pixels(one), commands.pixels(other))


def timeless(metadata: dict[str, Any]) -> dict[str, Any]:
    """The record, but for its steps, which have their times."""
    entry = metadata["mflux_plugins"]
    assert len(entry["steps"]["seconds"]) == len(entry["pattern"])
    return {name: value for name, value in entry.items() if name != "steps"}


def within_rounding(commands: Any, one: str, other: str) -> bool:
    """A pixel is eight bits of a float32 that differs in its last ones: at most one level."""
    return np.abs(commands.pixels(one).astype(int) - commands.pixels(other).astype(int)).max() <= 1


@pytest.fixture(scope="module")
def images(commands: Any) -> dict[str, Any]:
    """With blocks compiled and plain, without a plugin and with one."""
    return {
        name: commands.run(*FLUX1, *IMAGE, *options, "--output", f"{name}.png")
        for name, options in {
            "plain": (),
            "compiled": (ON,),
            "skipping": ALTERNATE,
            "both": (*ALTERNATE, ON),
        }.items()
    }


def test_the_flag_alone_compiles_and_skips_nothing(commands, images):
    compiled = images["compiled"]
    assert (compiled.code, compiled.weights) == (0, ["Flux1"])
    assert re.fullmatch(LINE + re.escape(images["plain"].out), compiled.out)
    assert compiled.err == images["plain"].err.replace("plain.png", "compiled.png")
    assert within_rounding(commands, "compiled.png", "plain.png")
    assert timeless(commands.embedded("compiled.png")) == RECORD
    assert timeless(commands.sidecar("compiled.metadata.json")) == RECORD


def test_with_a_plugin_both_are_at_work(commands, images):
    assert images["both"].out.startswith("alternate: computed 2 of 4 steps, skipped 2 ")
    assert within_rounding(commands, "both.png", "skipping.png")
    assert not within_rounding(commands, "both.png", "compiled.png")
    recorded = timeless(commands.embedded("both.png"))
    assert recorded == {**timeless(commands.embedded("skipping.png")), "compile_blocks": True}


def test_it_is_recorded_only_where_it_is_on(commands, images):
    assert "compile_blocks" not in commands.embedded("skipping.png")["mflux_plugins"]
    assert "mflux_plugins" not in commands.embedded("plain.png")


def test_a_sidecar_brings_it_back(commands, images):
    again = commands.run(*REPLAY, "--metadata", "--output", "again.png")
    assert re.match(LINE, again.out), again
    assert same_pixels(commands, "again.png", "compiled.png")
    assert timeless(commands.embedded("again.png")) == RECORD


def test_it_stays_on_when_the_command_line_names_a_plugin(commands, images):
    other = commands.run(*REPLAY, *ALTERNATE, "--metadata", "--output", "other.png")
    assert other.out.startswith("alternate: computed 2 of 4 steps")
    assert commands.embedded("other.png")["mflux_plugins"]["compile_blocks"] is True
    assert same_pixels(commands, "other.png", "both.png")


@pytest.mark.parametrize("words", [(OFF,), ("--plugin", "none")], ids=" ".join)
def test_the_command_line_switches_it_off(commands, images, words):
    off = commands.run(*REPLAY, *words, "--metadata", "--output", "off.png")
    assert (off.code, off.out) == (0, images["plain"].out.replace("plain.png", "off.png"))
    assert same_pixels(commands, "off.png", "plain.png")
    assert "mflux_plugins" not in commands.embedded("off.png")


def test_where_mflux_compiles_it_says_that_nothing_changes(commands):
    assert commands.run(*FLUX2, *IMAGE, "--output", "flux2.png").code == 0
    compiled = commands.run(*FLUX2, *IMAGE, ON, "--output", "flux2-compiled.png")
    assert compiled.code == 0
    [warning] = [line for line in compiled.err.splitlines() if "warning" in line]
    assert warning == (
        "mflux-generate-flux2: warning: --plugin-compile-blocks (compile_blocks=True) changes nothing here: mflux "
        "compiles this model itself. Leave it out."
    )
    assert same_pixels(commands, "flux2-compiled.png", "flux2.png")


def test_help_tells_of_it(commands):
    helped = commands.run(FLUX1[0], "--help")
    assert "  --plugin-compile-blocks, --no-plugin-compile-blocks\n" in helped.out
