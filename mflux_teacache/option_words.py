"""An option's value in its three forms: what was given on a command line, a keyword of ``attach``, and a JSON record.

For whatever argparse can do: flags, constants, counts, lists, repeated options, values that may be left out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mflux_teacache.errors import OptionError
from mflux_teacache.words import Given

_LONGEST_INT = 10**4000  # Python turns none with more than 4300 digits into text


def is_json(value: Any) -> bool:
    """Whether a value may be recorded as it is: a text, a number, true, false, nothing, or a list of those or of lists.

    By their very types: a text or number of a class of its own may be another one when it is read.
    """
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
    """As a command line has them; an option that takes whatever follows comes last."""
    ordered = sorted(given, key=lambda each: each.action.nargs == argparse.REMAINDER)
    return [word for each in ordered for word in _spelt(each)]


def _spelt(given: Given) -> list[str]:
    """With an equals sign where it can be: a value may begin with a hyphen."""
    if len(given.words) == 1:
        return [f"{given.option}={given.words[0]}"]
    return [given.option, *given.words]


def as_given(action: argparse.Action, value: Any) -> list[Given]:
    """The options that give an action this value; none where the value means "not given"."""
    option = action.option_strings[0]
    if value is None:
        return []
    if action.nargs == 0:
        return [Given(action, name) for name in _flags(action, value)]
    if isinstance(value, bool):
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
        return ()  # an option that may be given without a value
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)


def _flags(action: argparse.Action, value: Any) -> list[str]:
    """An option without a value, as often as it takes."""
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
    """The other way round: what was given, as text."""
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
