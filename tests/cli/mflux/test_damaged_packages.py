"""Damaged packages elsewhere in the environment: named where that helps, never fatal, and not read without need."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import damaged
import pytest
from commands import FLUX1, Commands
from installed import MFLUX

pytestmark = [
    pytest.mark.any_mflux,
    pytest.mark.skipif(
        MFLUX < (0, 21),
        reason="this mflux imports PyTorch, which reads all entry points and fails among them by itself",
    ),
]

IMAGE = ("--prompt", "apple", "--width", 64, "--height", 64, "--steps", 4, "--seed", 1)

# mflux's command with every file noted that it opens in the folder of damaged packages.
NOTING = """
import os, sys
folder, start, *sys.argv = sys.argv[1:]
opened = []
def note(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(os.path.join(folder, "")):
        opened.append(str(arguments[0]))
from mflux_teacache.cli import startup
sys.addaudithook(note)
if start == "1":
    startup.start()
from mflux.models.flux.cli.flux_generate import main
try:
    main()
finally:
    print(*sorted(opened), sep="\\n", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("damaged")
    damaged.install(made)
    return made


@pytest.fixture(scope="module")
def among_damaged(commands: Any, folder: Path) -> Commands:
    return Commands(commands.folder, [*commands.path, folder])


def test_a_plugin_runs_among_them(among_damaged):
    ran = among_damaged.run(*FLUX1, *IMAGE, "--plugin", "watch", "--output", "watched.png")
    assert (ran.code, ran.weights) == (0, ["Flux1"]), ran.err
    assert ran.out.startswith("watch: computed 4 of 4 steps")


@pytest.mark.parametrize(
    "more", [("--guidence", 3), ("--every-second-start", 3), ("--help",)], ids=lambda more: more[0]
)
def test_without_a_plugin_nothing_of_any_package_is_read(among_damaged, folder, more):
    ran = [
        among_damaged.execute(
            [sys.executable, "-c", NOTING, folder, start, "mflux-generate", *FLUX1[1:], *IMAGE, *more]
        )
        for start in ("0", "1")
    ]
    plain, ours = ran
    assert plain.code == ours.code
    if more == ("--help",):
        assert "--plugin NAME" in ours.out
        assert plain.err == ours.err
    else:  # after the usage, which has two options more
        assert plain.err.splitlines()[-2:] == ours.err.splitlines()[-2:]
        assert ours.err.endswith(f"mflux-generate: error: unrecognized arguments: {more[0]} 3\n\n")
    assert os.fspath(folder) not in plain.err + ours.err  # nothing was opened there


def test_the_audit_would_have_seen_it(among_damaged, folder):
    ran = among_damaged.execute(
        [sys.executable, "-c", NOTING, folder, "1", "mflux-generate", *FLUX1[1:], *IMAGE, "--plugin", "nobodys"]
    )
    assert (ran.code, ran.weights) == (2, [])
    assert f"{folder}/half-1.0.dist-info/entry_points.txt" in ran.err
    assert "mflux-generate: error: unknown plugin 'nobodys'. Installed: -x" not in ran.err
    assert "These packages cannot be read, and may provide it; reinstall them: no_section-1.0.dist-info (" in ran.err


def test_the_list_of_plugins_names_them(among_damaged):
    listed = among_damaged.run("mflux-teacache", "plugins")
    assert (listed.code, listed.err) == (0, "")
    text = " ".join(listed.out.split())
    for name in ("no_section", "no_value", "not_utf8", "zeros"):
        assert f"{name}-1.0.dist-info: its plugins, if it has some, are not known, since its entry points" in text
    assert r"\u202ex" in text
    assert "\u202e" not in listed.out
    [none] = [
        row
        for row in json.loads(among_damaged.run("mflux-teacache", "plugins", "--json").out)["plugins"]
        if row["name"] == "none"
    ]
    assert none["error"] == (
        "plugin 'none' of package odd_names 1.0 cannot be used: --plugin none switches plugins off. Its authors must "
        "rename it."
    )


def test_the_module_form_finds_mflux_s_commands_among_them(among_damaged):
    helped = among_damaged.execute([sys.executable, "-m", "mflux_teacache", "--help"])
    assert (helped.code, helped.err) == (0, "")
    assert "mflux-generate-flux2, " in helped.out
