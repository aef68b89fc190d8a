"""Extends mflux's command-line parser: ``--plugin`` and what goes with it, and the options of a run's plugins."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mflux_teacache.cli.arguments import (
    COMPILE_BLOCKS,
    COMPILE_BLOCKS_HELP,
    HELP,
    OPTION,
    Asked,
    asked_for,
    may_concern_plugins,
)
from mflux_teacache.cli.messages import reported, say, show_warnings
from mflux_teacache.errors import OptionError
from mflux_teacache.words import Line, read

if TYPE_CHECKING:
    from mflux_teacache.cli.session import Session

AddArguments = Callable[[argparse.ArgumentParser], None]
ParseArguments = Callable[[argparse.ArgumentParser], argparse.Namespace]


def extend(parsers: ModuleType) -> None:
    """Wrap the two methods of mflux's parser that matter. A parser that has changed is left alone, with a warning."""
    try:
        parser = parsers.CommandLineParser
        add_arguments, parse_arguments = parser.add_output_arguments, parser.parse_args
    except AttributeError as error:
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
        argv = sys.argv[1:]
        if OPTION not in parser._option_string_actions or not may_concern_plugins(argv):
            return original(parser)

        line = read(parser, argv)
        with reported(parser.prog):
            session = _session(parser, argv, line, command=sys._getframe(1).f_globals)
        namespace = original(parser)
        for ours in ("plugin", "plugin_compile_blocks"):
            vars(namespace).pop(ours, None)
        if session:
            session.begin(namespace)
        return namespace

    return parse_args


def _session(
    parser: argparse.ArgumentParser, argv: Sequence[str], line: Line, command: Mapping[str, Any]
) -> Session | None:
    """What the command line asks of plugins; ``None`` where that is nothing, or mflux shows its help or refuses it.

    Args:
        line: ``argv`` as the parser reads it.
        command: what the module of mflux's command has imported.
    """
    if line.problem is not None:
        if not line.asks_for_help and {OPTION, COMPILE_BLOCKS} & set(line.about):
            raise OptionError(line.problem)
        return None
    asked = asked_for(line)
    if asked == Asked():
        from mflux_teacache.cli.unknown import refuse_unknown

        refuse_unknown(line, anybodys=OPTION in (given.option for given in line.given))
        return None
    # The machinery is imported only for a run that asks for plugins.
    from mflux_teacache.cli.choice import choose
    from mflux_teacache.cli.guard import pipeline_in
    from mflux_teacache.cli.session import Session

    show_warnings(parser.prog)
    chosen = choose(asked, parser, argv)
    if not chosen:
        return None
    session = Session(parser.prog, chosen, pipeline_in(command))
    session.watch()
    _hand_on(parser, session)
    return session


def _hand_on(parser: argparse.ArgumentParser, session: Session) -> None:
    """Let the session see mflux's arguments while its parser works on them: it fetches LoRAs by the end of that."""
    original = parser.parse_known_args

    @functools.wraps(original)
    def parse_known_args(*args: Any, **options: Any) -> Any:
        session.arguments, rest = original(*args, **options)
        return session.arguments, rest

    parser.parse_known_args = parse_known_args  # type: ignore[method-assign]
