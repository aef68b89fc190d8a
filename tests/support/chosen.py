"""What a command line of mflux's asks of plugins, found by a parser with the options of mflux's that matter here."""

from __future__ import annotations

import argparse
from pathlib import Path

from mflux_teacache.cli.mflux.session import Asked, Chosen, choose


def parser_of_mflux(shortened: bool = False) -> argparse.ArgumentParser:
    """With the options that matter here. mflux up to 0.18.1 lets options be shortened."""
    parser = argparse.ArgumentParser("mflux-generate", allow_abbrev=shortened)
    parser.add_argument("--plugin", action="append", default=argparse.SUPPRESS)
    parser.add_argument("--plugin-compile-blocks", action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS)
    parser.add_argument("--config-from-conf", "-C", type=Path, default=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, nargs="+", default=argparse.SUPPRESS)
    for option in ("--prompt", "--steps", "--image-path", "--image-strength", "--image", "--output"):
        parser.add_argument(option, default=argparse.SUPPRESS)
    parser.add_argument("--image-paths", nargs="+", default=argparse.SUPPRESS)
    return parser


def choice(asked: Asked, argv: str = "", parser: argparse.ArgumentParser | None = None) -> Chosen:
    """What a command line that asks for this and goes on like that comes to."""
    words = [word for name in asked.names for word in ("--plugin", name)]
    words += ["-C", str(asked.sidecar)] if asked.sidecar else []
    return choose(asked, parser or parser_of_mflux(), [*words, *argv.split()])


def chosen(asked: Asked, argv: str = "", shortened: bool = False) -> dict[str, dict[str, object]]:
    """Name and options of each plugin, after mflux has parsed the same command line."""
    parser = parser_of_mflux(shortened)
    found = choice(asked, argv, parser)
    ours = {"seed", "prompt", "steps", "output"}
    assert vars(parser.parse_args(argv.split())).keys() <= ours  # mflux sees nothing of the plugins'
    return {request.plugin.name: vars(request.options) for request in found.requests}
