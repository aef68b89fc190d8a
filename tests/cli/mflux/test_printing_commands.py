"""What a command prints costs nothing: full, closed and ASCII-only outputs, odd plugins, warnings as errors."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import FLUX1, SCRIPTS, Commands

IMAGE = ("--prompt", "apple", "--width", 64, "--height", 64, "--steps", 4, "--seed", 1)

pytestmark = pytest.mark.any_mflux

ODD = '''
import decimal
from mflux_teacache import Decision, hookimpl


class Odd:
    """Says odd things of its decisions, and has an option that is no JSON."""

    @staticmethod
    @hookimpl
    def mflux_add_options(group):
        group.add_argument("--přeskok-share", type=decimal.Decimal, default=decimal.Decimal("0.10"))

    @hookimpl
    def mflux_pre_transformer(self, step):
        return [
            Decision.compute("\\x1b[2J", forced=True),
            Decision.compute(change="0.3", threshold=0.1),
            Decision.compute(change=5e-324, threshold=0.0),
            Decision.compute(0.3, running_sum=1j, threshold=[0.1]),
        ][step.index]
'''


@pytest.fixture(scope="module")
def with_odd(commands: Any, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    folder = tmp_path_factory.mktemp("odd")
    info = folder / "odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mflux.plugins]\npřeskok = odd_module:Odd\n", "utf-8")
    (folder / "odd_module.py").write_text(ODD, "utf-8")
    return Commands(commands.folder, [*commands.path, folder])


def test_an_odd_plugin_on_an_ascii_terminal_costs_nothing(with_odd):
    given = ("--plugin", "přeskok", "--přeskok-share", "0.25", "--metadata", "--output", "odd.png")
    ran = with_odd.run(*FLUX1, *IMAGE, *given, PYTHONIOENCODING="ascii")
    assert ran.code == 0, ran.err
    assert ran.out.isascii()
    assert ran.out.startswith(r"p\u0159eskok: computed 4 of 4 steps, skipped none (")
    assert with_odd.pixels("odd.png").shape == (64, 64, 3)
    for content in (with_odd.embedded("odd.png"), json.loads((with_odd.folder / "odd.metadata.json").read_text())):
        assert content["mflux_plugins"]["plugins"]["přeskok"]["options"] == {"share": "0.25"}


def shell(commands: Commands, words: tuple[object, ...], redirect: str) -> subprocess.CompletedProcess[str]:
    line = f"{shlex.join(map(str, (SCRIPTS / str(words[0]), *words[1:])))} {redirect}"
    ran = commands.execute(["/bin/bash", "-c", line])
    return subprocess.CompletedProcess(line, ran.code, ran.out, ran.err)


@pytest.mark.parametrize(
    ("redirect", "plugin"),
    [
        (">/dev/full", ("watch",)),
        (">&-", ("watch",)),
        ("2>/dev/full", ("teacache-record", "--teacache-record-output", "few.json")),  # which warns: too few images
        ("2>&-", ("teacache-record", "--teacache-record-output", "few.json")),
    ],
)
def test_an_output_that_takes_nothing_does_not_cost_the_image(commands, redirect, plugin):
    shell(commands, (*FLUX1, *IMAGE, "--output", "plain.png"), redirect)
    assert (commands.folder / "plain.png").exists()
    shell(commands, (*FLUX1, *IMAGE, "--plugin", *plugin, "--output", "ours.png"), redirect)
    assert np.array_equal(commands.pixels("ours.png"), commands.pixels("plain.png"))
    for name in ("plain.png", "ours.png"):
        (commands.folder / name).unlink()


def test_a_shadow_run_writes_its_files_though_nobody_reads_its_table(commands):
    files = ("--shadow-json", "s.json", "--shadow-plot", "s.png")
    shadow = ("--plugin", "shadow", "--shadow-strategies", "first-block-cache", *files)
    shell(commands, (*FLUX1, *IMAGE, *shadow, "--output", "shadow.png"), "| true")
    assert all((commands.folder / name).exists() for name in ("s.json", "s.png", "shadow.png"))


ERRORS = {"PYTHONWARNINGS": "error::UserWarning"}


def test_where_warnings_are_errors_one_before_the_image_is_a_line(commands):
    idle = ("--plugin", "teacache", "--teacache-thresh", 0.25, "--teacache-coefficients", 0.3, "--output", "idle.png")
    ran = commands.run(*FLUX1, *IMAGE, "--steps", 10, *idle, **ERRORS)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1].startswith("mflux-generate: error: --teacache-thresh 0.25 will skip nothing: ")
    assert "Traceback" not in ran.err
    assert not Path(commands.folder / "idle.png").exists()


def test_a_sidecar_s_control_characters_do_not_reach_the_terminal(commands):
    entry = {"schema": 1, "plugins": {"\x1b[2J\u202e\n": {"options": {}}}}
    (commands.folder / "odd\x1b.json").write_text(json.dumps({"prompt": "x", "mflux_plugins": entry}))
    ran = commands.run(*FLUX1, *IMAGE, "-C", "odd\x1b.json")
    assert (ran.code, ran.out, ran.weights) == (2, "", [])
    assert all(line.isprintable() for line in ran.err.splitlines())
    assert ran.err.startswith(r"mflux-generate: error: odd\x1b.json: unknown plugin '\x1b[2J\u202e\n'. Installed: ")
