"""What is read from the command line before mflux parses it."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import pytest

from mflux_teacache.cli.mflux.session import Asked, asked_for
from mflux_teacache.cli.startup import may_concern_plugins
from mflux_teacache.discovery import GROUP, built_in
from mflux_teacache.errors import OptionError
from mflux_teacache.words import read


def parser_of_mflux(with_sidecar: bool = True, shortened: bool = False) -> argparse.ArgumentParser:
    """With the options that matter here. mflux up to 0.18.1 lets options be shortened."""
    parser = argparse.ArgumentParser("mflux-generate", allow_abbrev=shortened)
    parser.add_argument("--verbose", "-v", action="store_true")
    parser.add_argument("--prompt")
    parser.add_argument("--seed", type=int, nargs="+")
    parser.add_argument("--plugin", action="append")
    parser.add_argument("--plugin-compile-blocks", action=argparse.BooleanOptionalAction)
    if with_sidecar:
        parser.add_argument("--config-from-conf", "--config-from-metadata", "-C", type=Path)
    return parser


def asked(parser: argparse.ArgumentParser, argv: str) -> Asked:
    return asked_for(read(parser, argv.split()))


WHOLE = [
    ("", Asked()),
    ("--prompt x --seed 1 2", Asked()),
    ("--plugin teacache", Asked(("teacache",))),
    ("--plugin=teacache --seed 1 2 --plugin watch", Asked(("teacache", "watch"))),
    ("--plugin watch --plugin teacache --plugin watch", Asked(("watch", "teacache"))),
    ("--plugin none", Asked()),
    ("--plugin none --plugin none -C run.json", Asked()),
    ("-C run.json", Asked(sidecar=Path("run.json"))),
    ("-Crun.json", Asked(sidecar=Path("run.json"))),
    ("-vC run.json", Asked(sidecar=Path("run.json"))),
    ("-vCrun.json", Asked(sidecar=Path("run.json"))),
    ("-C first.json -C run.json", Asked(sidecar=Path("run.json"))),
    ("--config-from-conf run.json", Asked(sidecar=Path("run.json"))),
    ("--config-from-metadata=run.json --plugin watch", Asked(("watch",), Path("run.json"))),
    ("--plugin-compile-blocks", Asked(compile_blocks=True)),
    ("--no-plugin-compile-blocks -C run.json", Asked(sidecar=Path("run.json"), compile_blocks=False)),
    ("--plugin-compile-blocks --no-plugin-compile-blocks", Asked(compile_blocks=False)),
    ("--plugin none --plugin-compile-blocks -C run.json", Asked(compile_blocks=True)),
    ("--plugin watch --plugin-compile-blocks", Asked(("watch",), compile_blocks=True)),
    ("--prompt=--plugin x", Asked()),
    ("--prompt x -- --plugin teacache", Asked()),
    ("--help --plugin teacache", Asked(("teacache",))),
]


@pytest.mark.parametrize("shortened", [False, True])
@pytest.mark.parametrize(("argv", "expected"), WHOLE)
def test_what_a_command_line_asks_for(argv, expected, shortened):
    assert asked(parser_of_mflux(shortened=shortened), argv) == expected
    known = parser_of_mflux()._option_string_actions
    assert may_concern_plugins(argv.split(), known) or expected == Asked()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("--plugin-comp", Asked(compile_blocks=True)),
        ("--no-p", Asked(compile_blocks=False)),
        ("--config-from-meta run.json", Asked(sidecar=Path("run.json"))),
        ("--config-from-m=run.json", Asked(sidecar=Path("run.json"))),
        ("--pr --plugin", Asked()),  # mflux takes the second word for the prompt's option that has no value
    ],
)
def test_a_shortened_option_is_the_whole_one_where_mflux_lets_it_be(argv, expected):
    assert asked(parser_of_mflux(shortened=True), argv) == expected
    assert asked(parser_of_mflux(), argv) == Asked()
    assert may_concern_plugins(argv.split(), parser_of_mflux()._option_string_actions)


@pytest.mark.parametrize("argv", ["--plug teacache", "--config-from x"])
def test_an_ambiguous_one_is_left_to_argparse(argv):
    parser = parser_of_mflux(shortened=True)
    line = read(parser, argv.split())
    assert line.given == []
    with pytest.raises(SystemExit):
        parser.parse_args(argv.split())
    assert asked(parser_of_mflux(), argv) == Asked()


def test_a_command_without_sidecars_has_none():
    assert asked(parser_of_mflux(with_sidecar=False), "-C run.json") == Asked()


def test_none_and_another_are_refused():
    with pytest.raises(OptionError) as refusal:
        asked(parser_of_mflux(), "--plugin none --plugin watch --plugin teacache")
    assert str(refusal.value) == (
        "--plugin none switches plugins off, and 'watch' and 'teacache' was asked for too. Leave one of them out."
    )


@pytest.mark.parametrize(
    "argv", ["", "--prompt x --seed 1", "-v", "--prompt=--plugin", "--verbose --seed 1 2", "-- plugin", "x-C"]
)
def test_most_command_lines_are_not_even_read(argv):
    assert not may_concern_plugins(argv.split(), parser_of_mflux()._option_string_actions)


@pytest.mark.parametrize("argv", ["--teacache-thresh 0.2", "--no-shadow-x", "--a-stranger-s", "--p", "--c", "-vC"])
def test_what_could_be_ours_is_read(argv):
    assert may_concern_plugins(argv.split(), parser_of_mflux()._option_string_actions)


def test_the_built_in_plugins_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(built_in()) == set(project["entry-points"][GROUP])
