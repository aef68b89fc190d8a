"""``mflux-teacache plugins``: the tables, and the same as JSON."""

from __future__ import annotations

import json
from importlib.metadata import distribution, version

import pytest

from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import Pipeline, commands_of, in_installed_mflux
from mflux_teacache.cli.own import main
from mflux_teacache.cli.own.columns import table
from mflux_teacache.cli.own.plugin_rows import Row, describe
from mflux_teacache.cli.own.plugins_command import as_text
from mflux_teacache.discovery import Unreadable, installed


def run(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as leaving:
        main.main(argv)
    assert leaving.value.code == 0
    return capsys.readouterr().out


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
    assert all(family.signal and family.guidance for family in FAMILIES)


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
