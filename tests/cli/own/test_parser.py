"""Commands of ours take the options of the plugin that they run."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from mflux_teacache.cli.own.main import main
from mflux_teacache.cli.own.parser import PluginParser
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import load


def parsed(*words: str) -> argparse.Namespace:
    parser = PluginParser(allow_abbrev=False)
    command = parser.add_subparsers().add_parser("demo")
    command.add_argument("--plugin", default="teacache")
    command.add_argument("--steps", type=int)
    return parser.parse_args(["demo", *words])


@pytest.mark.parametrize(
    ("words", "keywords"),
    [
        ([], {}),
        (["--teacache-thresh", "0.2"], {"thresh": "0.2"}),
        (["--teacache-thresh=0.2", "--teacache-force"], {"thresh": "0.2", "force": True}),
        (["--teacache-force", "--steps", "4"], {"force": True}),
        (["--teacache-coefficients=-1.5,2,0"], {"coefficients": "-1.5,2,0"}),
        (["--plugin", "first-block-cache", "--first-block-cache-max-skips", "2"], {"max_skips": "2"}),
        (["--plugin=schedule", "--schedule-every", "2"], {"every": "2"}),
        (["--plugin", "replay", "--replay-from", "a.png"], {"from": "a.png"}),
    ],
)
def test_options_of_the_plugin_are_keywords_of_attach(words: list[str], keywords: dict[str, Any]) -> None:
    found = parsed(*words)
    assert found.plugin_options == keywords
    from_keywords(load(found.plugin), found.plugin_options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["demo", "--schedule-every", "2"],
            "--schedule-every is for the plugin schedule, which is off.",
        ),
        (["plugins", "--teacache-thresh", "2"], "unrecognized arguments: --teacache-thresh 2"),
        (["demo", "--teacache-tresh", "2"], "has no option --teacache-tresh. Did you mean --teacache-thresh?"),
        (["demo", "--taecache-thresh", "2"], "unknown option --taecache-thresh. Did you mean --teacache-thresh?"),
        (["demo", "--teacache-thresh"], "argument --teacache-thresh: expected one argument"),
        (["demo", "--teacache-thresh", "1", "--teacache-thresh", "2"], "once more"),
        (["bench", "speed", "--plugin", "teacache", "--teacache-max-skips=-1"], "'-1' is not a whole number from 0"),
    ],
)
def test_what_no_command_knows_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("demo --steps abc", "argument --steps: invalid int value: 'abc'. See `mflux-teacache demo --help`."),
        ("demo --bogus 1", "unrecognized arguments: --bogus 1. See `mflux-teacache demo --help`."),
        ("demo --stps 1", "unrecognized arguments: --stps 1. Did you mean --steps? See `mflux-teacache demo --help`."),
        ("plugins --bogus", "unrecognized arguments: --bogus. See `mflux-teacache plugins --help`."),
        ("presets list x", "unrecognized arguments: x. See `mflux-teacache presets list --help`."),
        ("bench quality --seeds a", "invalid int value: 'a'. See `mflux-teacache bench quality --help`."),
        ("bench", "the following arguments are required: speed|quality|memory. See `mflux-teacache bench --help`."),
        ("--bogus plugins", "unrecognized arguments: --bogus. See `mflux-teacache --help`."),
    ],
)
def test_an_error_is_one_line_that_names_the_help_of_its_command(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words.split())
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("mflux-teacache: error: ")
    assert message in err


def test_help_shows_the_plugin_s_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--plugin", "schedule", "--help")
    assert "--schedule-every K" in capsys.readouterr().out
