"""What a command line says, option by option, exactly as the parser that is about to parse it reads it.

A second parser is made with the options of the first one, which converts nothing, requires nothing, prints nothing and
writes down each option with its words. So shortened options, ``--option=value``, letters in one word (``-vC``), ``--``
and whatever else argparse knows are read by argparse itself, in the way that it was told for that parser.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn


@dataclass(frozen=True, slots=True)
class Given:
    """An option where it is given.

    Attributes:
        action: the option.
        option: in full, however it was shortened; empty for what has no option before it.
        words: its values; none for a flag.
    """

    action: argparse.Action
    option: str
    words: tuple[str, ...] = ()


@dataclass(slots=True)
class Line:
    """A command line.

    Attributes:
        given: in its order.
        unknown: options that the parser does not have, and values that belong to none.
        problem: argparse's words for what it would end with; what comes after that is not read.
        about: the option that the problem is about, in each of its spellings.
    """

    given: list[Given] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    problem: str | None = None
    about: tuple[str, ...] = ()

    @property
    def unknown_options(self) -> list[str]:
        """Without values."""
        options = self.unknown[: self.unknown.index("--")] if "--" in self.unknown else self.unknown
        return [word.partition("=")[0] for word in options if word.startswith("--")]

    @property
    def asks_for_help(self) -> bool:
        return any(isinstance(given.action, argparse._HelpAction) for given in self.given)


def read(parser: argparse.ArgumentParser, argv: Sequence[str]) -> Line:
    """What ``parser`` will read in these words."""
    line = Line()
    scribe = _Scribe(
        parser.prog,
        add_help=False,
        prefix_chars=parser.prefix_chars,
        fromfile_prefix_chars=parser.fromfile_prefix_chars,
        allow_abbrev=parser.allow_abbrev,
        exit_on_error=False,
    )
    for action in parser._actions:
        names = action.option_strings or [action.dest]
        scribe.add_argument(*names, nargs=action.nargs, action=_WriteDown, original=action, line=line)
    try:
        _, line.unknown = scribe.parse_known_args(argv)
    except argparse.ArgumentError as problem:
        line.problem, line.about = str(problem), tuple((problem.argument_name or "").split("/"))
    except _Problem as problem:
        line.problem = str(problem)
    return line


class _Problem(Exception):
    """Where argparse would print and exit."""


class _Scribe(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Problem(message)


class _WriteDown(argparse.Action):
    """In the place of another action: notes that it is given, and does nothing."""

    def __init__(self, *args: Any, original: argparse.Action, line: Line, **details: Any) -> None:
        super().__init__(*args, **details)
        self._original = original
        self._line = line

    def __call__(self, parser: object, namespace: object, values: Any, option_string: str | None = None) -> None:
        words = values if isinstance(values, list) else [] if values is None else [values]
        self._line.given.append(Given(self._original, option_string or "", tuple(words)))
