"""Extends mflux's command-line parser by ``--plugin`` and ``--plugin-compile-blocks``.

This is imported with every command, so it is light; what comes after it is imported only for a command line that may
concern plugins.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from types import ModuleType

from mflux_teacache.cli.mflux.arguments import (
    COMPILE_BLOCKS,
    COMPILE_BLOCKS_HELP,
    HELP,
    NO_COMPILE_BLOCKS,
    OPTION,
    SIDECAR_OPTIONS,
)

AddArguments = Callable[[argparse.ArgumentParser], None]
ParseArguments = Callable[[argparse.ArgumentParser], argparse.Namespace]

_OURS = (OPTION, COMPILE_BLOCKS, NO_COMPILE_BLOCKS, *SIDECAR_OPTIONS[1:])


def extend(parsers: ModuleType) -> None:
    """Wrap the two methods of mflux's parser that matter. A parser that has changed is left alone, with a warning."""
    try:
        parser = parsers.CommandLineParser
        add_arguments, parse_arguments = parser.add_output_arguments, parser.parse_args
    except AttributeError as error:
        from mflux_teacache.messages import say

        say(
            Path(sys.argv[0]).name,
            "warning",
            f"{OPTION} is off: the parser of the installed mflux has changed ({error}). Upgrade mflux-teacache-plugin, "
            f"or set MFLUX_PLUGINS=0 to silence this.",
        )
        return
    parser.add_output_arguments = _with_options(add_arguments)
    parser.parse_args = _with_plugins(parse_arguments)


def _with_options(original: AddArguments) -> AddArguments:
    @functools.wraps(original)
    def add_output_arguments(parser: argparse.ArgumentParser) -> None:
        original(parser)
        # type=str is argparse's own default; mflux-completions offers a value only where a type is given.
        parser.add_argument(
            OPTION, action="append", type=str, metavar="NAME", default=argparse.SUPPRESS, dest="plugin", help=HELP
        )
        parser.add_argument(
            COMPILE_BLOCKS,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            dest="plugin_compile_blocks",
            help=COMPILE_BLOCKS_HELP,
        )

    return add_output_arguments


def _with_plugins(original: ParseArguments) -> ParseArguments:
    @functools.wraps(original)
    def parse_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
        known = parser._option_string_actions
        if OPTION not in known or not may_concern_plugins(sys.argv[1:], known):
            return original(parser)
        from mflux_teacache.cli.mflux.session import session_for

        session = session_for(parser, sys.argv[1:], command=sys._getframe(1).f_globals)
        namespace = original(parser)
        for ours in ("plugin", "plugin_compile_blocks"):
            vars(namespace).pop(ours, None)
        if session is not None:
            session.begin(namespace)
        return namespace

    return parse_args


def may_concern_plugins(argv: Sequence[str], known: Container[str]) -> bool:
    """Whether a word may be an option of ours or of a plugin, also a shortened one: a quick look, in place of reading.

    Args:
        known: the options of mflux's parser. Any other word may be of a plugin that is off.
    """
    return any(_may_be_ours(word, known) for word in argv)


def _may_be_ours(word: str, known: Container[str]) -> bool:
    if not word.startswith("--"):
        return word.startswith("-") and "C" in word  # mflux's flags of one letter may stand in one word with it: -vC
    name = word.partition("=")[0]
    return name != "--" and (name not in known or name in _OURS)
