"""``mflux-teacache`` as a command: its subcommands, exit codes and what it prints on."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version

import pytest
from commands import SCRIPTS

from mflux_teacache.cli.own import main, plugins_command
from mflux_teacache.errors import PluginWarning, Refused


def run(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as leaving:
        main.main(argv)
    assert leaving.value.code == 0
    return capsys.readouterr().out


def test_it_tells_its_version(capsys):
    assert run(capsys, "--version") == f"mflux-teacache {version('mflux-teacache-plugin')}\n"


def test_it_has_a_version_without_being_installed(monkeypatch, capsys):
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(main, "version", missing)
    assert run(capsys, "--version") == "mflux-teacache (not installed)\n"


def test_it_has_its_commands(capsys):
    helped = run(capsys, "--help")
    assert "  bench  " in helped
    assert "  demo  " in helped
    assert "  doctor  " in helped
    assert "  plugins  " in helped


def test_without_a_command_it_explains_itself(capsys):
    with pytest.raises(SystemExit) as leaving:
        main.main([])
    assert leaving.value.code == 2
    assert "the following arguments are required: demo|plugins|presets|" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("tune", "--demo"), ("bench", "speed"), ("plugins",)])
def test_without_a_working_mlx_it_is_told_in_a_line(tmp_path, words):
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").touch()
    (tmp_path / "mlx" / "core.py").write_text("raise ImportError('no such library', name='mlx.core')\n")
    ran = subprocess.run(
        [SCRIPTS / "mflux-teacache", *words],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert ran.stderr.endswith(
        "MLX does not work: ImportError: no such library. `mflux-teacache doctor` says what to do.\n"
    )
    assert "Traceback" not in ran.stderr


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupt(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(plugins_command, "run", interrupt)
    with pytest.raises(SystemExit) as leaving:
        main.main(["plugins"])
    assert leaving.value.code == 130
    assert capsys.readouterr().err == "\nmflux-teacache: interrupted\n"


def test_a_warning_is_one_line(monkeypatch, capsys):
    def warn(_: argparse.Namespace) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn("look out", PluginWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(plugins_command, "run", warn)
    with pytest.raises(SystemExit):
        main.main(["plugins"])
    assert capsys.readouterr().err == "mflux-teacache: warning: look out\n"


def test_a_refusal_is_one_line(monkeypatch, capsys):
    def refuse(_: argparse.Namespace) -> int:
        raise Refused("no. Do this.")

    monkeypatch.setattr(plugins_command, "run", refuse)
    with pytest.raises(SystemExit) as leaving:
        main.main(["plugins"])
    assert leaving.value.code == 2
    assert capsys.readouterr() == ("", "mflux-teacache: error: no. Do this.\n")


@pytest.mark.slow
def test_a_reader_who_has_seen_enough_is_no_error():
    words, pipe = [SCRIPTS / "mflux-teacache", "plugins"], subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert b"Traceback" not in command.stderr.read()
        assert command.wait() == 1


@pytest.mark.slow
@pytest.mark.parametrize("words", ["plugins", "plugins --json", "--help", "plugins --help"])
@pytest.mark.parametrize(
    ("redirect", "reason"), [(">&-", "it is closed"), (">/dev/full", "No space left on device"), ("| true", None)]
)
def test_an_output_that_takes_nothing_is_one_line_at_most(words, redirect, reason):
    done = subprocess.run(
        f"set -o pipefail; {SCRIPTS / 'mflux-teacache'} {words} {redirect}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    line = f"mflux-teacache: error: not everything was printed: standard output takes no more ({reason}).\n"
    if redirect == ">&-" and "--help" in words:  # argparse shows it on the other one
        assert done.stderr.startswith("usage: mflux-teacache ")
    else:
        assert done.stderr == (line if reason else "")
    assert done.returncode == 1 or (reason is None and done.returncode == 0)


def test_letters_that_the_output_lacks_are_spelt_out(plugins_in_process, monkeypatch):
    into = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(into, encoding="ascii"))
    monkeypatch.setattr(plugins_command, "run", lambda arguments: print("přeskok") or 0)
    with pytest.raises(SystemExit, match="^0$"):
        main.main(["plugins"])
    assert into.getvalue() == b"p\\u0159eskok\n"


def test_an_error_of_another_file_is_none_of_the_output(monkeypatch):
    def fails(_: argparse.Namespace) -> int:
        raise OSError(28, "No space left on device", "elsewhere")

    monkeypatch.setattr(plugins_command, "run", fails)
    with pytest.raises(OSError, match="elsewhere"):
        main.main(["plugins"])
