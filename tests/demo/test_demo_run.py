"""``mflux-teacache demo`` from its arguments to its table and picture."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from mflux_teacache.cli.own.main import main
from mflux_teacache.cli.own.parser import PluginParser
from mflux_teacache.demo import run as demo
from mflux_teacache.demo.run import Result, Settings
from mflux_teacache.demo.vocabulary import GRAMMAR
from mflux_teacache.errors import NotWritten, OptionError, PluginWarning, Refused, UnknownPlugin
from mflux_teacache.records import GenerationStats, StepRecord


def parsed(*words: str) -> argparse.Namespace:
    parser = PluginParser()
    demo.add_parser(parser.add_subparsers(required=True))
    return parser.parse_args(["demo", *words])


def test_importing_it_loads_nothing_heavy() -> None:
    script = (
        "import sys, mflux_teacache.demo.run; print(sorted({'mlx', 'mflux', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_defaults_of_the_command_are_those_of_the_settings() -> None:
    args = vars(parsed())
    assert args.pop("run") is demo.run
    assert Settings(**args) == Settings()


def test_help_explains_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    assert GRAMMAR in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt", "a moon"], "it does not know 'moon'"),
        (["--steps", "2"], "--steps is 2; "),
        (["--thresh", "-0.1"], "--thresh is -0.1; "),
        (["--thresh", "0.3", "--teacache-thresh", "0.2"], "--thresh 0.3 and --teacache-thresh 0.2 are the same option"),
        (
            ["--plugin", "schedule"],
            "exactly one of --schedule-pattern, ",
        ),
        (["--steps", "5", "--teacache-skip-first=4"], "5 active steps"),
        (["--thresh", "nan"], "--thresh is nan; "),
        (["--seed", "-1"], "--seed is -1; it must be a whole number from 0 to 4294967295"),
        (["--seed", "4294967296"], "--seed is 4294967296; "),
        (["--output", "picture.jpg"], "Try --output picture.png"),
        (["--output", "no/such/a.png"], "--output is no/such/a.png, "),
        (["--output", "folder.png"], "--output is folder.png, "),
    ],
)
def test_values_that_are_not_allowed(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_warm_up", lambda *_: pytest.fail("something was drawn"))
    with pytest.raises(Refused) as refusal:
        demo.run(parsed(*words))
    assert message in str(refusal.value)


def test_the_command_ends_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["demo", "--steps", "2"])
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("mflux-teacache: error: --steps is 2;")


def test_edges_that_are_allowed() -> None:
    Settings(steps=3, thresh=0.0, seed=0, output=Path("A.PNG"))
    Settings(seed=2**32 - 1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (Settings(plugin="teacahe"), UnknownPlugin, "unknown plugin 'teacahe'"),
        (Settings(plugin="bare", thresh=0.1), OptionError, "plugin 'bare' has no option 'thresh'"),
    ],
)
def test_a_plugin_is_judged_before_the_model_loads(
    settings: Settings, error: type[Exception], message: str, bare_plugin: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mflux_teacache.demo.model", None)
    with pytest.raises(error, match=message):
        demo.checked(settings)


@pytest.fixture
def bare_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plugin without hooks."""
    info = tmp_path / "bare-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bare\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mflux.plugins]\nbare = types:SimpleNamespace\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def result(letters: str, *, plain: float, cached: float, off_by: int) -> Result:
    from mflux_teacache.demo.model import Drawn

    def image(level: int) -> PIL.Image.Image:
        return PIL.Image.new("RGB", (4, 4), (level, level, level))

    decisions = tuple(
        StepRecord(index=index, sigma=None, decision="skipped" if letter == "S" else "forced")
        for index, letter in enumerate(letters)
    )
    stats = GenerationStats(num_steps=len(letters), decisions=decisions, status="finished", seconds=cached, seed=1)
    return Result(plain=Drawn(image(100), plain), cached=Drawn(image(100 + off_by), cached), stats=stats)


def test_the_table() -> None:
    # Off by 3 everywhere: 10 log10(65025 / 9) dB.
    table = demo.report(Settings(plugin="first-block-cache"), result("CSSCSSSC", plain=8.0, cached=4.4, off_by=3))
    rows = [line.split() for line in table.splitlines()[1:4]]
    assert rows == [
        ["run", "seconds", "steps", "PSNR", "time", "ratio", "floor"],
        ["plain", "8.00", "8/8", "1.00", "1.00"],
        ["first-block-cache", "4.40", "3/8", "38.6", "dB", "0.55", "0.38"],
    ]
    assert "pattern     CSSCSSSC" in table


def test_what_the_plugin_has_chosen_stands_below() -> None:
    skipping = result("CSC", plain=2.0, cached=1.0, off_by=3)
    assert "setting" not in demo.report(Settings(), skipping)
    assert demo.report(Settings(), replace(skipping, told="a plan of two")).endswith("\nsetting     a plan of two")


def test_nothing_is_said_to_be_drawn_before_the_plugin_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownPlugin):
        demo.run(parsed("--plugin", "teacahe"))
    assert capsys.readouterr().out == ""


def test_the_reason_for_skipping_nothing_stands_below(tmp_path: Path) -> None:
    skipping, idle = result("CSC", plain=2.0, cached=1.0, off_by=3), result("CCC", plain=2.0, cached=2.0, off_by=0)
    assert "note" not in demo.report(Settings(), skipping)
    assert demo.report(Settings(), replace(idle, idle="why, and what to try")).endswith(
        "\nnote        why, and what to try"
    )


def test_equal_images() -> None:
    assert "infinite" in demo.report(Settings(), result("CCC", plain=1.0, cached=1.0, off_by=0)).splitlines()[3]


def test_a_picture_that_cannot_be_written_leaves_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo, "compare", lambda *_: result("CSC", plain=2.0, cached=1.0, off_by=1))
    monkeypatch.setattr(os, "fsync", refuse)
    output = tmp_path / "demo.png"
    output.write_text("old")
    with pytest.raises(NotWritten, match=r"--output is .*demo\.png.* No space left"):
        demo.run(parsed("--output", str(output)))
    told = capsys.readouterr().out
    assert "pattern     CSC" in told
    assert "picture" not in told
    assert output.read_text() == "old"


@pytest.mark.slow
@pytest.mark.parametrize(("plugin", "thresh", "steps"), [("teacache", 0.3, 12), ("first-block-cache", 0.5, 6)])
def test_the_whole_demo(
    plugin: str, thresh: float, steps: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "demo.png"
    words = ["--plugin", plugin, "--thresh", str(thresh), "--steps", str(steps), "--output", str(output)]
    assert demo.run(parsed(*words)) == 0
    printed = capsys.readouterr().out
    table: dict[str, Any] = {line.split()[0]: line.split() for line in printed.splitlines() if line}
    pattern = table["pattern"][1]
    assert len(pattern) == steps
    assert pattern.startswith("C")
    skipped = pattern.count("S")
    assert skipped > 0
    assert table["plain"][2] == f"{steps}/{steps}"
    assert table[plugin][2] == f"{steps - skipped}/{steps}"
    assert float(table[plugin][-1]) == pytest.approx((steps - skipped) / steps, abs=0.006)
    assert float(table[plugin][-2]) == pytest.approx(float(table[plugin][1]) / float(table["plain"][1]), abs=0.02)
    assert printed.endswith(f"picture     {output}\n")
    with PIL.Image.open(output) as picture:
        assert picture.size == (1600, 1320)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "pattern", "note"),
    [
        (["--plugin", "schedule", "--schedule-every", "2"], "CSCSC", None),
        (
            ["--plugin", "first-block-cache", "--thresh", "0.001"],
            "CCCCC",
            r"first-block-cache: computed 5 of 5 steps, skipped none .* try (--first-block-cache-thresh) .*",
        ),
        (["--plugin", "teacache-record"], "CCCCC", r"teacache-record: .*: the plugin only observes"),
    ],
)
def test_a_plugin_s_own_options_and_why_nothing_was_skipped(
    words: list[str],
    pattern: str,
    note: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        assert demo.run(parsed(*words, "--steps", "5")) == 0
    *table, last, picture = capsys.readouterr().out.splitlines()
    assert picture == f"picture     {tmp_path / 'mflux-teacache-demo.png'}"
    if note is None:
        table.append(last)
    else:
        found = re.fullmatch(f"note        {note}", last)
        assert found is not None, last
        for option in found.groups():  # what is advised is taken here
            assert parsed(*words[:2], option, "0.2").plugin_options == {"thresh": "0.2"}
    assert f"pattern     {pattern} (C computed, S skipped)" in table
