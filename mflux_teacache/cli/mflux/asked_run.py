"""From a command line of mflux's to the session that it asks for, before mflux parses it."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mflux_teacache.cli.mflux.arguments import COMPILE_BLOCKS, OPTION, Asked, asked_for
from mflux_teacache.cli.mflux.unknown import refuse_unknown
from mflux_teacache.errors import OptionError
from mflux_teacache.messages import reported, show_warnings
from mflux_teacache.words import Line, read

if TYPE_CHECKING:
    from mflux_teacache.cli.mflux.session import Session


def session_for(parser: argparse.ArgumentParser, argv: Sequence[str], command: Mapping[str, Any]) -> Session | None:
    """``None`` where nothing is asked of plugins, or mflux shows its help or refuses the command line itself.

    Args:
        parser: mflux's.
        command: what the module of mflux's command has imported.

    Raises:
        SystemExit: it is refused, which has been said.
    """
    with reported(parser.prog):
        line = read(parser, argv)
        if line.problem is not None:
            _refuse_if_ours(line)
            return None
        asked = asked_for(line)
        if asked == Asked():
            refuse_unknown(line, anybodys=any(OPTION in given.action.option_strings for given in line.given))
            return None
        return _session(asked, parser, argv, command)


def _refuse_if_ours(line: Line) -> None:
    if {OPTION, COMPILE_BLOCKS} & set(line.about) and not line.asks_for_help:
        raise OptionError(line.problem or "")


def _session(
    asked: Asked, parser: argparse.ArgumentParser, argv: Sequence[str], command: Mapping[str, Any]
) -> Session | None:
    # The machinery is imported only for a run that asks for plugins.
    from mflux_teacache.cli.mflux.choice import choose
    from mflux_teacache.cli.mflux.guard import pipeline_in
    from mflux_teacache.cli.mflux.session import Session

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
