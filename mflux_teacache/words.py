"""The words of a command line: read as argparse reads them, and an option's value in each of its forms.

A value has three forms: the words on a command line, a keyword of ``attach``, and a JSON record. This module converts
between them for everything that argparse offers: flags, constants, counts, lists, options that may be repeated, and
options that may be given without a value.
"""

from __future__ import annotations

import argparse
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from mflux_teacache.errors import OptionError

_LONGEST_INT = 10**4000  # Python makes no text of a number with more than 4300 digits


@dataclass(frozen=True, slots=True)
class Given:
    """One occurrence of an option on a command line.

    Attributes:
        action: the option.
        option: its full name, even if it was shortened; empty for a positional argument.
        words: its values; none for a flag.
    """

    action: argparse.Action
    option: str
    words: tuple[str, ...] = ()


# --- Reading a command line -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Line:
    """A command line.

    Attributes:
        given: the options in their order.
        unknown: options that the parser does not have, and values that belong to no option.
        problem: argparse's message if it would refuse the line; nothing after that point is read.
        about: the option that the problem is about, in each of its spellings.
    """

    given: list[Given] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    problem: str | None = None
    about: tuple[str, ...] = ()

    @property
    def unknown_options(self) -> list[str]:
        """The options among ``unknown``, without values."""
        options = self.unknown[: self.unknown.index("--")] if "--" in self.unknown else self.unknown
        return [word.partition("=")[0] for word in options if word.startswith("--")]

    @property
    def asks_for_help(self) -> bool:
        return any(isinstance(given.action, argparse._HelpAction) for given in self.given)


def read(parser: argparse.ArgumentParser, argv: Sequence[str]) -> Line:
    """What ``parser`` is going to read in these words.

    A second parser with the same options reads them. It converts nothing, requires nothing and prints nothing: it only
    writes down each option with its words.
    """
    line = Line()
    # argparse itself has to read the words: shortened options, ``--option=value``, several letters in one word
    # (``-vC``) and ``--`` are too much to do a second time in the same way.
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
    """Raised where argparse would print and exit."""


class _Scribe(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Problem(message)


class _WriteDown(argparse.Action):
    """Stands in for another action. It only notes that the option is given."""

    def __init__(self, *args: Any, original: argparse.Action, line: Line, **details: Any) -> None:
        super().__init__(*args, **details)
        self._original = original
        self._line = line

    def __call__(self, parser: object, namespace: object, values: Any, option_string: str | None = None) -> None:
        words = values if isinstance(values, list) else [] if values is None else [values]
        self._line.given.append(Given(self._original, option_string or "", tuple(words)))


# --- Options of a plugin that stand among other words -----------------------------------------------------------------


def keywords_among(plugin: str | None, words: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Separate a plugin's options, as keywords of ``attach``, from the other words.

    Raises:
        OptionError: an option is given twice.
    """
    keywords: dict[str, Any] = {}
    others: list[str] = []
    left = deque(words)
    while left:
        word = left.popleft()
        value: str | bool
        option, equals, value = word.partition("=")
        prefix = f"--{plugin}-"
        if plugin is None or not option.startswith(prefix):
            others.append(word)
            continue
        if not equals:
            value = left.popleft() if left and not left[0].startswith("-") else True  # a flag has no value
        add_keyword(keywords, option.removeprefix(prefix), value, option)
    return keywords, others


def add_keyword(keywords: dict[str, Any], name: str, value: Any, option: str) -> None:
    """Add an option to keywords of ``attach``.

    Args:
        name: the option's name without the plugin's, such as ``max-skips``.
        option: the option as it was given, for messages.

    Raises:
        OptionError: it is there already.
    """
    keyword = name.replace("-", "_")
    if keyword in keywords:
        raise OptionError(f"{option} gives {name} once more, which was {keywords[keyword]}. Leave one of them out.")
    keywords[keyword] = value


# --- The forms of a value ---------------------------------------------------------------------------------------------


def is_json(value: Any) -> bool:
    """Whether a value may be recorded as it is: text, a number, true, false, null, or a list of those or of lists."""
    # By exact type: a subclass of str or int would be read back as the plain one.
    return _is_scalar(value) or _is_list(value, lambda entry: _is_scalar(entry) or _is_list(entry, _is_scalar))


def _is_scalar(value: Any) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is int:
        return abs(value) < _LONGEST_INT
    return value is None or type(value) in (str, bool)


def _is_list(value: Any, of: Callable[[Any], bool]) -> bool:
    return type(value) in (list, tuple) and all(map(of, value))


def as_words(given: Iterable[Given]) -> list[str]:
    """Options as words on a command line."""
    # An option that takes all remaining words has to come last, or it would swallow the others.
    ordered = sorted(given, key=lambda each: each.action.nargs == argparse.REMAINDER)
    return [word for each in ordered for word in _spelt(each)]


def _spelt(given: Given) -> list[str]:
    if len(given.words) == 1:  # with an equals sign, a value that begins with a hyphen is not taken for an option
        return [f"{given.option}={given.words[0]}"]
    return [given.option, *given.words]


def as_given(action: argparse.Action, value: Any) -> list[Given]:
    """The options that give an action this value; none if the value means "not given".

    Raises:
        OptionError: no option gives it.
    """
    option = action.option_strings[0]
    if value is None:
        return []
    if action.nargs == 0:
        return [Given(action, name) for name in _flags(action, value)]
    if isinstance(value, bool):  # before the others, since True is 1 to Python and would become the word "True"
        if value and action.nargs == argparse.OPTIONAL:
            return [Given(action, option)]
        raise OptionError(f"{option} takes a value; {value} says only on or off.")
    if not isinstance(value, list | tuple):
        return [Given(action, option, (str(value),))]
    if isinstance(action, argparse._AppendAction):
        return [Given(action, option, _texts(entry)) for entry in value]
    if action.nargs in (None, argparse.OPTIONAL):
        return [Given(action, option, (",".join(map(str, value)),))]
    return [Given(action, option, _texts(value))]


def _texts(value: Any) -> tuple[str, ...]:
    if value is True:
        return ()  # of an option that may be given without a value
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)


def _flags(action: argparse.Action, value: Any) -> list[str]:
    """The names by which an option without a value is given, as often as it takes to reach ``value``."""
    option = action.option_strings[0]
    if isinstance(action, argparse.BooleanOptionalAction) and isinstance(value, bool):
        return [option if value else action.option_strings[-1]]
    if isinstance(action, argparse._CountAction | argparse._AppendConstAction):
        times = sum(each == action.const for each in value) if isinstance(value, list | tuple) else value
        if isinstance(times, int) and times >= 0:
            return [option] * times
        raise OptionError(f"{option} takes no value: it is {value!r}, and must be how often it is given, from 0.")
    if isinstance(value, bool) and not isinstance(action.const, bool):
        return [option] if value else []
    if isinstance(value, bool) or value in (action.const, action.default):
        return [option] if value == action.const else []
    raise OptionError(f"{option} is on or off: True or False, not {value!r}.")


def as_keyword(action: argparse.Action, given: Sequence[Given]) -> Any:
    """The inverse of ``as_given``: the keyword, in text, for an option that was given at least once."""
    last = given[-1]
    if isinstance(action, argparse._CountAction | argparse._AppendConstAction):
        return len(given)
    if isinstance(action, argparse.BooleanOptionalAction):
        return last.option != action.option_strings[-1]
    if action.nargs == 0:
        return action.const if isinstance(action.const, bool) else True
    if isinstance(action, argparse._ExtendAction):
        return [word for each in given for word in each.words]
    if isinstance(action, argparse._AppendAction):
        return [_value(action, each) for each in given]
    return _value(action, last)


def _value(action: argparse.Action, given: Given) -> Any:
    if action.nargs == argparse.OPTIONAL and not given.words:
        return True
    return given.words[0] if action.nargs in (None, argparse.OPTIONAL) else list(given.words)
