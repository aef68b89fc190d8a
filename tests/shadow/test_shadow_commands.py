"""``--plugin shadow`` with mflux's real console scripts."""

from __future__ import annotations

import re

import numpy as np

FLUX2 = ("mflux-generate-flux2", "--model", "flux2-klein-base-4b")
IMAGE = ("--prompt", "apple", "--width", 64, "--height", 64, "--steps", 4, "--seed", 1, "--metadata")


def test_a_table_a_picture_and_the_image_of_a_plain_run(commands):
    plain = commands.run(*FLUX2, *IMAGE, "--output", "plain.png")
    files = ("--shadow-plot", "shadow.png", "--shadow-json", "shadow.json")
    thresholds = ("--shadow-strategies", "alternate,first-block-cache", "--shadow-thresholds", "0.00001,9")
    ran = commands.run(*FLUX2, *IMAGE, "--plugin", "shadow", *thresholds, *files, "--output", "image.png")
    assert (plain.code, ran.code) == (0, 0), ran.err
    table = [line.split() for line in ran.out.splitlines()]
    assert table[4][:3] == ["STRATEGY", "THRESHOLD", "COMPUTED"]
    assert [(row[0], row[1], row[2], row[4]) for row in table[5:8]] == [
        ("alternate", "0.5", "2", "4"),
        ("first-block-cache", "1e-05", "4", "4"),
        ("first-block-cache", "9", "1", "4"),
    ]
    [line] = [line for line in ran.out.splitlines() if line.startswith("shadow: computed")]
    assert re.fullmatch(r"shadow: computed 4 of 4 steps, skipped none \(.* s of denoising\): .*", line)
    assert np.array_equal(commands.pixels("image.png"), commands.pixels("plain.png"))
    assert commands.pixels("shadow.png").shape[1] == 1440
    recorded = commands.embedded("image.png")["mflux_plugins"]["plugins"]["shadow"]["values"]
    assert recorded == commands.sidecar("shadow.json")
    assert [run["pattern"] for run in recorded["runs"]] == ["CSCS", "CCCC", "CSSS"]


def test_what_nothing_would_be_seen_of_is_refused_before_weights_load(commands):
    refused = commands.run(*FLUX2, *IMAGE, "--plugin", "shadow", "--shadow-strategies", "watch", "--output", "no.png")
    assert (refused.code, refused.out, refused.weights) == (2, "", [])
    assert refused.err == (
        "mflux-generate-flux2: error: plugin 'watch' decides nothing that a shadow run could look at. Leave it out.\n"
    )
