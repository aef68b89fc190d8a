"""A plugin's options on mflux's parser: known to it and shown in its help, and no more.

What they come to is read by the plugin's own parser (``options.Declared``), before mflux parses. So mflux's parsing
runs no code of a plugin, and its namespace has nothing of one.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mflux_teacache.errors import BrokenPlugin
from mflux_teacache.options import Declared
from mflux_teacache.words import Given


class StandIn(argparse.Action):
    """An option of a plugin; it does nothing. What is shown of it is made when it is shown.

    Attributes:
        original: the plugin's action.
        takes_back: it is the ``--no`` form, which stands for nothing that the plugin declared.
    """

    def __init__(
        self,
        option_strings: Sequence[str],
        *,
        original: argparse.Action,
        parser: argparse.ArgumentParser,
        takes_back: bool = False,
        **details: Any,
    ) -> None:
        self.original = original
        self.takes_back = takes_back
        self._parser = parser
        super().__init__(option_strings, **{**details, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS})

    def __call__(self, *_: object) -> None: ...

    def format_usage(self) -> str:
        """``--a-b | --no-a-b``, of an option that has both."""
        return self.original.format_usage()

    @property
    def metavar(self) -> Any:
        """As argparse shows the plugin's own action, whose destination and choices are not those of this one."""
        if self.original.metavar is not None:
            return self.original.metavar
        if self.original.choices is None:
            return self.original.dest.upper()
        return f"{{{','.join(map(str, self.original.choices))}}}"

    @metavar.setter
    def metavar(self, _: object) -> None: ...

    @property
    def help(self) -> str | None:
        """Expanded with what the plugin's own action has."""
        text = argparse.SUPPRESS if self.takes_back else self.original.help
        if text is None or text == argparse.SUPPRESS:
            return text
        with contextlib.suppress(KeyError, TypeError, ValueError):  # a percent sign that argparse takes for a format
            text = self._parser._get_formatter()._expand_help(self.original)
        return text.replace("%", "%%")

    @help.setter
    def help(self, _: object) -> None: ...


class Spoken(NamedTuple):
    """What a command line says of a plugin's options.

    Attributes:
        given: with its values.
        taken_back: what ``--no-<plugin>-<option>`` returns to its default, whatever is recorded.
    """

    given: list[Given]
    taken_back: list[argparse.Action]

    def __bool__(self) -> bool:
        return bool(self.given or self.taken_back)


def put_on(parser: argparse.ArgumentParser, declared: Declared) -> None:
    """Add a plugin's options to mflux's parser.

    Raises:
        BrokenPlugin: it has one of that name already.
    """
    group = parser.add_argument_group(f"plugin {declared.plugin.name}", declared.group.description)
    places = {id(action): group for action in declared.actions}
    for actions in declared.exclusive:
        places |= dict.fromkeys(map(id, actions), group.add_mutually_exclusive_group())
    try:
        for action in declared.actions:
            place = places[id(action)]
            place.add_argument(
                *action.option_strings, action=StandIn, original=action, parser=parser, nargs=action.nargs
            )
        for action in declared.actions:
            back = action.option_strings[0].replace(declared.prefix, declared.no_prefix, 1)
            if back not in parser._option_string_actions:  # a plugin may have the form itself
                group.add_argument(back, action=StandIn, original=action, parser=parser, nargs=0, takes_back=True)
    except argparse.ArgumentError as error:
        raise BrokenPlugin(f"plugin {declared.plugin.name!r}: {error}. Its authors must rename that option.") from error


def spoken(declared: Declared, line: Iterable[Given]) -> Spoken:
    """What a command line, as mflux's parser reads it, says of these options; the last word on each counts."""
    own = {id(action) for action in declared.actions}
    said = Spoken([], [])
    for each in line:
        stand_in = each.action
        if not isinstance(stand_in, StandIn) or id(stand_in.original) not in own:
            continue
        if stand_in.takes_back:
            said.given[:] = [given for given in said.given if given.action is not stand_in.original]
            said.taken_back.append(stand_in.original)
        else:
            said.given.append(Given(stand_in.original, each.option, each.words))
    return said
