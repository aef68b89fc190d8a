"""What is read from the command line before mflux parses it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from mflux_teacache.cli.arguments import Asked, asked_for
from mflux_teacache.errors import OptionError


def parser_of_mflux(with_sidecar: bool = True) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mflux-generate", allow_abbrev=False)
    if with_sidecar:
        parser.add_argument("--config-from-conf", "--config-from-metadata", "-C", type=Path)
    return parser


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
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
        ("-C first.json -C run.json", Asked(sidecar=Path("run.json"))),
        ("--config-from-conf run.json", Asked(sidecar=Path("run.json"))),
        ("--config-from-metadata=run.json --plugin watch", Asked(("watch",), Path("run.json"))),
        ("--plugin-compile-blocks", Asked(compile_blocks=True)),
        ("--no-plugin-compile-blocks -C run.json", Asked(sidecar=Path("run.json"), compile_blocks=False)),
        ("--plugin-compile-blocks --no-plugin-compile-blocks", Asked(compile_blocks=False)),
        ("--plugin none --plugin-compile-blocks -C run.json", Asked(compile_blocks=True)),
        ("--plugin watch --plugin-compile-blocks", Asked(("watch",), compile_blocks=True)),
        ("--prompt=--plugin x", Asked()),
        ("--plug teacache", Asked()),
        ("--plugin-compile", Asked()),
        ("--help --plugin teacache", Asked(("teacache",))),
    ],
)
def test_what_a_command_line_asks_for(argv, expected):
    assert asked_for(parser_of_mflux(), argv.split()) == expected


def test_a_command_without_sidecars_has_none():
    assert asked_for(parser_of_mflux(with_sidecar=False), ["-C", "run.json"]) == Asked()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--plugin", "argument --plugin: expected one argument"),
        (
            "--plugin none --plugin watch --plugin teacache",
            "--plugin none switches plugins off, and 'watch' and 'teacache' was asked for too. Leave one of them out.",
        ),
    ],
)
def test_what_is_refused(argv, message):
    with pytest.raises(OptionError) as refusal:
        asked_for(parser_of_mflux(), argv.split())
    assert str(refusal.value) == message
