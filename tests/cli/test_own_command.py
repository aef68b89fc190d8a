"""``mflux-teacache``, and the table that it prints."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError, distribution, version

import pytest
from commands import SCRIPTS

from mflux_teacache.adapters.about import ABOUT
from mflux_teacache.adapters.commands import commands_of
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import Pipeline, in_installed_mflux
from mflux_teacache.cli.own import main, plugins_command
from mflux_teacache.cli.own.plugins_command import Row, as_text, describe, table
from mflux_teacache.discovery import Unreadable, installed
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


def test_it_has_the_demo_the_plugins_and_the_benchmark(capsys):
    helped = run(capsys, "--help")
    assert "  bench  " in helped
    assert "  demo  " in helped
    assert "  plugins  " in helped


def test_without_a_command_it_explains_itself(capsys):
    with pytest.raises(SystemExit) as leaving:
        main.main([])
    assert leaving.value.code == 2
    assert "the following arguments are required: COMMAND" in capsys.readouterr().err


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupt(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(plugins_command, "run", interrupt)
    with pytest.raises(SystemExit) as leaving:
        main.main(["plugins"])
    assert leaving.value.code == 130
    assert capsys.readouterr().err == "\nmflux-teacache: error: interrupted\n"


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


def test_a_reader_who_has_seen_enough_is_no_error():
    words, pipe = [SCRIPTS / "mflux-teacache", "plugins"], subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert b"Traceback" not in command.stderr.read()
        assert command.wait() == 1


def test_plugins_lists_everything_installed_and_every_pipeline(capsys, plugins_in_process):
    rows = [line.split() for line in run(capsys, "plugins").splitlines()]
    ours = version("mflux-teacache-plugin")
    assert ["watch", "cli-plugins", "1.0"] in rows
    [first_block_cache, described] = [row for row in rows if row[:1] == ["first-block-cache"]]
    assert " ".join(described).startswith("first-block-cache strategy Runs block 0 in every step, and")
    assert ["watch", "tool", "Only", "observes."] in rows
    assert first_block_cache[1:4] == ["mflux-teacache-plugin", ours, "--first-block-cache-thresh"]
    [teacache, _] = [row for row in rows if row[:1] == ["teacache"]]
    assert teacache[1:4] == ["mflux-teacache-plugin", ours, "--teacache-thresh"]
    [broken] = [row for row in rows if row[:1] == ["broken"]]
    assert " ".join(broken[1:]).startswith(
        "cli-plugins 1.0 broken: plugin 'broken' of package cli-plugins 1.0 cannot be"
    )
    assert ["Flux1", "flux", "full", "mflux-generate"] in rows
    assert ["ZImage", "z_image", "full", "mflux-generate-z-image,", "mflux-generate-z-image-turbo"] in rows
    assert any(row[:1] == ["--plugin-compile-blocks,"] for row in rows)
    assert [
        "qwen",
        "LayerNorm",
        "of",
        "image;",
        "scale,",
        "shift",
        "of",
        "time",
        "two",
        "calls,",
        "always",
        "no",
    ] in rows
    assert ["qwen-image", "Qwen/Qwen-Image", "QwenImage", "0.3"] in rows
    assert {row[0] for row in rows if row} >= {entry.name for entry in in_installed_mflux()}


def test_plugins_as_json_says_the_same(capsys, plugins_in_process):
    content = json.loads(run(capsys, "plugins", "--json"))
    assert content["mflux"] == version("mflux")
    found = {row["name"]: row for row in content["plugins"]}
    assert found["needs-size"] == {
        "name": "needs-size",
        "package": "cli-plugins",
        "version": "1.0",
        "options": ["--needs-size-size"],
        "error": None,
        "kind": "tool",
        "description": "",
    }
    assert content["unreadable_packages"] == []
    assert found["clash"]["options"] == []
    assert (
        found["clash"]["error"]
        == "plugin 'clash': option --clashing does not start with --clash-. Its authors must mend it."
    )
    assert [entry["name"] for entry in content["pipelines"]] == [entry.name for entry in in_installed_mflux()]
    [flux1] = [entry for entry in content["pipelines"] if entry["name"] == "Flux1"]
    assert flux1 == {
        "name": "Flux1",
        "family": "flux",
        "level": "full",
        "note": "",
        "commands": ["mflux-generate"],
        "calibrations": ["flux1-dev", "flux1-krea-dev", "flux1-schnell"],
    }
    [z_image] = [entry for entry in content["families"] if entry["name"] == "z_image"]
    assert z_image == {
        "name": "z_image",
        "transformer": "mflux.models.z_image.model.z_image_transformer.transformer:ZImageTransformer",
        "body": ["layers"],
        "signal": "RMSNorm of image and text; scale of time",
        "guidance": "two calls",
        "compiled": True,
        "compilable": True,
    }
    [qwen] = [entry for entry in content["calibrations"] if entry["name"] == "qwen-image"]
    assert (qwen["steps"], qwen["size"], qwen["range"]) == (50, "768x768", pytest.approx([0.047, 0.588], abs=0.001))


def test_the_tables_fit_120_columns_and_no_option_is_cut(capsys, plugins_in_process):
    printed = run(capsys, "plugins")
    assert max(map(len, printed.splitlines())) <= 120
    for row in map(describe, installed()):
        assert all(option in printed.split() for option in row.options)


def test_every_family_is_described():
    assert list(ABOUT) == [family.name for family in FAMILIES]


def test_every_image_command_of_mflux_runs_a_pipeline():
    scripts = {point.name for point in distribution("mflux").entry_points if point.group == "console_scripts"}
    found = {command for entry in in_installed_mflux() for command in commands_of(entry.name)}
    assert found <= scripts
    assert {name for name in scripts if name.startswith("mflux-generate")} <= found


def test_each_installed_plugin_is_described(plugins_in_process):
    rows = [describe(plugin) for plugin in installed()]
    assert {row.name for row in rows if row.error} == {"broken", "clash"}
    assert (
        Row(
            "alternate",
            "cli-plugins",
            "1.0",
            ("--alternate-every", "--alternate-label", "--alternate-names", "--alternate-noted"),
            kind="strategy",
            description="Computes every ``every``-th step and reuses between.",
        )
        in rows
    )


def test_the_text_is_aligned():
    pipelines = [Pipeline("Long", None, "refused", "why"), Pipeline("A", "f")]
    lines = as_text([Row("a", "package", "1", ("--a-b", "--a-c"))], pipelines).splitlines()
    assert lines[:3] == ["PLUGIN  PACKAGE  VERSION  OPTIONS", "a       package  1        --a-b --a-c", ""]
    assert lines[3:6] == ["PLUGIN  KIND  WHAT IT DOES", "a       -", ""]
    assert [line.split() for line in lines[7:9]] == [["Long", "-", "refused"], ["A", "f", "full"]]
    assert lines[10:12] == ["Long: refused; why.", ""]


def test_what_a_package_says_cannot_act_on_a_terminal():
    row = Row("a\x1b[2J", "pack\nage", "1\r", error="no \u202e way", description="")
    broken = Unreadable("odd\x07-1.0.dist-info", "UnicodeDecodeError: '\x9b'")
    text = as_text([row], [], [broken])
    assert all(line.isprintable() for line in text.splitlines())
    assert r"a\x1b[2J  pack\nage  1\r" in text
    assert r"odd\x07-1.0.dist-info: its plugins, if it has some, are not known" in text


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


def test_columns_are_as_wide_as_their_widest_cell():
    assert table(("A", "LONG"), [("bbb", "c")]) == ["A    LONG", "bbb  c"]


def test_the_last_column_goes_on_below_itself():
    options = " ".join(f"--option-{number:02d}" for number in range(20))
    heading, first, second, third = table(("A", "OPTIONS"), [("a", options)])
    assert (heading, first[:14], second[:14], third[:14]) == (
        "A  OPTIONS",
        "a  --option-00",
        "   --option-09",
        "   --option-18",
    )
