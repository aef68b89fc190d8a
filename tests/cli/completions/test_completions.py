"""``mflux-teacache completions``: the scripts are taken by real shells, which offer what can follow."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from installed import MFLUX

from mflux_teacache.cli.completions.offers import Offers, Option, offers_of
from mflux_teacache.cli.completions.shells import SHELLS
from mflux_teacache.cli.mflux import described
from mflux_teacache.cli.mflux.described import describe_plugins, plugin_names, plugin_options


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("mflux-teacache", add_help=False)
    below = made.add_subparsers()
    draw = below.add_parser("draw", help="draw $(it) `now`; 'quick'", add_help=False)
    draw.add_argument("-s", "--size", choices=["small", "large"], help="how [large] it is. More of it")
    draw.add_argument("--all", action="store_true", help=argparse.SUPPRESS)
    draw.add_argument("--quick", action="store_true", help="100 %% (default: %(default)s)")
    draw.add_argument("file")
    shell = below.add_parser("shell", help="s", add_help=False)
    shell.add_argument("kind", choices=["one", "two"])
    shell.add_argument("--size", type=int, help="a number")
    return made


def test_what_can_follow_is_read_from_parsers() -> None:
    top, draw, shell = offers_of(parser(), "mflux-teacache")
    assert top == Offers(("mflux-teacache",), (), (("draw", "draw (it) now; 'quick'"), ("shell", "s")))
    size = Option(("-s", "--size"), "how large it is", takes_value=True, values=("small", "large"))
    quick = Option(("--quick",), "100 % (default: False)", takes_value=False)
    assert draw == Offers(("mflux-teacache", "draw"), (size, quick))
    assert shell.words == (("one", ""), ("two", ""))


SCRIPTS = {
    shell: write("mflux-teacache", list(offers_of(parser(), "mflux-teacache"))) for shell, write in SHELLS.items()
}

LINES: dict[tuple[str, ...], set[str]] = {
    ("",): {"draw", "shell"},
    ("dr",): {"draw"},
    ("draw", "--"): {"--size", "--quick"},
    ("draw", "--size", ""): {"small", "large"},
    ("draw", "--size", "sm"): {"small"},
    ("draw", "-s", "l"): {"large"},
    ("shell", ""): {"one", "two"},
}

BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_mflux_teacache
printf '%s\\n' "${COMPREPLY[@]}"
"""


def missing(shell: str) -> Any:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def ran(words: Sequence[object], folder: Path) -> set[str]:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=True, cwd=folder, timeout=60
    )
    assert done.stderr == ""
    return set(filter(None, done.stdout.splitlines()))


@missing("bash")
@pytest.mark.parametrize("line", LINES)
def test_bash(line: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPTS["bash"])
    offered = ran(["bash", "-c", BASH, "bash", tmp_path / "script", "/a/mflux-teacache", *line], tmp_path)
    assert LINES[line] <= offered
    # Where nothing is typed yet, bash shows options as well.
    assert offered - LINES[line] <= ({"-s", "--size", "--quick"} if line[-1] == "" else set())


@missing("fish")
@pytest.mark.parametrize("line", LINES)
def test_fish(line: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPTS["fish"])
    typed = " ".join(("mflux-teacache", *line))
    environment = f"source {tmp_path / 'script'}; complete -C '{typed}'"
    empty = tmp_path / "empty"
    empty.mkdir()
    offered = {each.partition("\t")[0] for each in ran(["fish", "--no-config", "-c", environment], empty)}
    assert offered == LINES[line]


# zsh's own functions, in place of which these say what they were asked for.
ZSH = """
_arguments() { print -rl -- "$@"; }
_describe() { print -rl -- $below; }
words=("${@:2}"); CURRENT=$#words
source "$1"
"""


@missing("zsh")
@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (
            ("draw", ""),
            {"(-s --size)-s[how large it is]:value:(small large)", "--quick[100 % (default: False)]", "*:file:_files"},
        ),
        (("shell", ""), {"--size[a number]:value:_files", "*: :{ _describe word below }"}),
    ],
)
def test_zsh(line: tuple[str, ...], asked: set[str], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPTS["zsh"])
    offered = ran(["zsh", "-f", "-c", ZSH, "zsh", tmp_path / "script", "mflux-teacache", *line], tmp_path)
    assert asked <= offered


@missing("zsh")
def test_zsh_reads_the_help_as_text(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPTS["zsh"])
    script = ZSH.replace('"$@"; }', '"$@"; [[ -z $below ]] || print -rl -- $below; }', 1)
    offered = ran(["zsh", "-f", "-c", script, "zsh", tmp_path / "script", "mflux-teacache", ""], tmp_path)
    assert "draw:draw (it) now; 'quick'" in offered


# --- Plugins ----------------------------------------------------------------------------------------------------------


def test_a_parser_with_plugin_offers_those_that_are_installed_and_their_options() -> None:
    made = argparse.ArgumentParser()
    made.add_argument("--plugin")
    made.add_argument("--sea-thresh", help="taken")
    describe_plugins(made)
    assert {"teacache", "schedule", "none"} <= set(made._option_string_actions["--plugin"].choices or ())
    assert "--schedule-every" in made._option_string_actions
    assert made._option_string_actions["--sea-thresh"].help == "taken"
    reuse = made._option_string_actions["--teacache-reuse"]
    assert "(default: body)" in str(reuse.help)
    assert not any(action.required for action in plugin_options())


def test_a_broken_plugin_is_offered_without_options(monkeypatch: pytest.MonkeyPatch, plugins_in_process: None) -> None:
    plugin_options.cache_clear()
    assert "broken" in plugin_names()
    assert plugin_options()
    plugin_options.cache_clear()
    monkeypatch.setattr(described, "installed", lambda: [])
    assert plugin_names() == ["none"]
    assert plugin_options() == []
    plugin_options.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_knows_mflux_s_commands_where_mflux_does_not_write_them(commands: Any, shell: str) -> None:
    printed = commands.run("mflux-teacache", "completions", shell)
    assert printed.code == 0, printed.err
    assert "--teacache-thresh" in printed.out.replace("-l teacache-thresh", "--teacache-thresh")
    assert "alternate-every" in printed.out  # of another package
    assert "other-decider" in printed.out
    # Up to mflux 0.18 its generator fails, with plugins or without.
    assert ("mflux-generate-flux2" in printed.out) == (shell != "zsh" and MFLUX >= (0, 19))
