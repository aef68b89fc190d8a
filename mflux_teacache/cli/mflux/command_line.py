"""Extends mflux's command-line parser by ``--plugin`` and what goes with it. Imported with every command: light.

What comes after that is imported only for a command line that may concern plugins.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from mflux_teacache.cli.mflux.arguments import COMPILE_BLOCKS, COMPILE_BLOCKS_HELP, HELP, OPTION, may_concern_plugins

AddArguments = Callable[[argparse.ArgumentParser], None]
ParseArguments = Callable[[argparse.ArgumentParser], argparse.Namespace]


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
        from mflux_teacache.cli.mflux.asked_run import session_for

        session = session_for(parser, sys.argv[1:], command=sys._getframe(1).f_globals)
        namespace = original(parser)
        for ours in ("plugin", "plugin_compile_blocks"):
            vars(namespace).pop(ours, None)
        if session is not None:
            session.begin(namespace)
        return namespace

    return parse_args
