"""Files that mflux's real commands read and write for plugins: refused before weights load, or never half."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest
import write_faults
from commands import SCRIPTS

pytestmark = pytest.mark.any_mflux

ONE = ("mflux-generate", "--model", "dev", "--prompt", "apple", "--width", 64, "--height", 64, "--seed", 1)
SHADOW = ("--plugin", "shadow", "--shadow-strategies", "first-block-cache")


def entry(plugins, **more):
    return {"schema": 1, "pattern": "CSCC", "decider": None, "residual_after": 0, "plugins": plugins, **more}


DECIDED = {"easycache": {"options": {}, "values": {"forecast": 0}}}
SIDECARS = {
    "fifo": entry({"teacache": {"options": {"calibration": "./pipe"}}}),
    "blocks": entry(DECIDED, decider="easycache", residual_after=99),
    "large": entry({"watch": {"options": {}}}, more="a" * 4_000_000),
    "good": entry(DECIDED, decider="easycache"),
}

REFUSED = {
    "a pipe": (
        ("-C", "fifo.json"),
        "TeaCache cannot read the calibration ./pipe: it is a pipe, and only regular files",
    ),
    "blocks": (
        ("-C", "blocks.json"),
        "mflux_plugins.residual_after is 99, and it must be a whole number from 0 to 64.",
    ),
    "large": (
        ("-C", "large.json"),
        "large.json: it cannot be a sidecar: it has 4.00",
    ),
    "a polynomial": (
        ("--plugin", "teacache", "--teacache-thresh", 0.2, "--teacache-coefficients=1e308,1e308,1e308,1e308,1e308"),
        "TeaCache cannot follow its polynomial: ",
    ),
    "a long name": (
        ("--plugin", "teacache-record", "--teacache-record-output", "a" * 300 + ".json"),
        ".json, where no file can be: File name too long. Name a file in a folder of your own.",
    ),
}


@pytest.fixture(scope="module", autouse=True)
def files(commands) -> None:
    os.mkfifo(commands.folder / "pipe")
    run = {"model": "dev", "prompt": "apple", "seed": 1, "steps": 4, "width": 64, "height": 64, "guidance": 3.5}
    for name, plugins in SIDECARS.items():
        (commands.folder / f"{name}.json").write_text(json.dumps({**run, "mflux_plugins": plugins}))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_before_any_weights(commands, case):
    arguments, message = REFUSED[case]
    refused = commands.run(*ONE, "--steps", 4, *arguments)
    assert (refused.code, refused.out, refused.weights) == (2, "", [])
    assert message in refused.err
    assert refused.err.count("\n") == 1


def shell(commands, command):
    """A line for a shell, in which one of mflux's commands is written out by its place."""
    return commands.execute(["bash", "-c", command.replace("mflux-generate", str(SCRIPTS / "mflux-generate"))])


def test_a_sidecar_from_a_pipe_gives_the_image_without_its_plugins(commands):
    ran = shell(commands, "mflux-generate -C <(cat good.json) --width 64 --height 64 --output piped.png")
    assert ran.code == 0, ran.err
    assert "is no file that can be read twice, so plugins that it may record are not brought back, nor" in ran.err
    assert commands.pixels("piped.png").shape == (64, 64, 3)
    assert "mflux_plugins" not in commands.embedded("piped.png")


@pytest.mark.parametrize("output", ["| true", "> /dev/full"])
def test_what_nobody_reads_costs_no_file(commands, output):
    words = (*ONE, "--steps", 4, *SHADOW, "--shadow-json", "unread.json", "--shadow-plot", "unread.png")
    shell(commands, f"{shlex.join(map(str, words))} --output unread-image.png {output}")
    for name in ("unread.json", "unread.png", "unread-image.png"):
        (commands.folder / name).unlink()  # it is there


# --- every file that the package writes ----------------------------------------------------------------------------

GENERATE = ("mflux.models.flux.cli.flux_generate:main", *ONE)
OWN = ("mflux_teacache.cli.own.main:main", "mflux-teacache")
QUALITY = ("--prompts", 1, "--seeds", 1, "--steps", 4, "--setting", "schedule every=2")
WRITERS = {
    "teacache-record": (
        (*GENERATE, "--steps", 22, "--plugin", "teacache-record", "--teacache-record-output", "c.json"),
        ["c.json"],
    ),
    "magcache-record": (
        (*GENERATE, "--steps", 4, "--plugin", "magcache-record", "--magcache-record-output", "t.json"),
        ["t.json"],
    ),
    "shadow": (
        (*GENERATE, "--steps", 4, *SHADOW, "--shadow-json", "s.json", "--shadow-plot", "s.png"),
        ["s.json", "s.png"],
    ),
    "demo": ((*OWN, "demo", "--steps", 4, "--output", "demo.png"), ["demo.png"]),
    "bench speed": (
        (*OWN, "bench", "speed", "--steps", 4, "--repetitions", 1, "--json", "speed.json", "--png", "speed.png"),
        ["speed.json", "speed.png"],
    ),
    "bench quality": (
        (*OWN, "bench", "quality", *QUALITY, "--json", "q.json", "--png", "q.png", "--sheet", "sheet.png"),
        ["q.json", "q.png", "sheet.png"],
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_file_is_old_or_new_as_a_whole(commands, writer):
    """Killed, interrupted, or out of space at each point of each of its writes, with and without a file before."""
    words, names = WRITERS[writer]
    log = commands.folder / f"faults of {writer}.log"
    for _ in range(2):
        ran = commands.execute([sys.executable, write_faults.__file__, log, *words])
        assert ran.code == 0, ran.err
    tried = [json.loads(line) for line in log.read_text().splitlines()]
    writes = [(entry["file"], entry["old"]) for entry in tried]
    # `bench quality` writes its JSON after each image, so that an interrupted run can go on: there it is an old one.
    assert list(dict.fromkeys(write for write in writes if write[0] != "q.json")) == [
        (name, old) for old in (False, True) for name in names if name != "q.json"
    ]
    assert set(writes) == {(name, old) for name in names for old in (False, True)}
    assert [entry["problems"] for entry in tried] == [[]] * len(tried)
    assert min(entry["tried"] for entry in tried) > 60
    assert not [file for file in Path(commands.folder).iterdir() if file.name.endswith(".tmp")]
