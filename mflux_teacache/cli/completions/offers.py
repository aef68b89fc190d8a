"""What can follow on a command line: words and options of each command, read from its parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from mflux_teacache.cli import startup
from mflux_teacache.cli.mflux.arguments import OPTION
from mflux_teacache.cli.mflux.described import describe_plugins, expanded

_LONGEST_HELP = 90


@dataclass(frozen=True, slots=True)
class Option:
    """Attributes:
    names: such as ``-C`` and ``--config-from-conf``.
    help: its first sentence.
    takes_value: a word follows.
    values: the words that may follow; empty if it can be any.
    """

    names: tuple[str, ...]
    help: str
    takes_value: bool
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offers:
    """Attributes:
    path: the command and its subcommands, such as ``("mflux-teacache", "bench", "speed")``.
    words: its subcommands, or a positional argument's choices, with their help.
    """

    path: tuple[str, ...]
    options: tuple[Option, ...]
    words: tuple[tuple[str, str], ...] = ()


def offers_of(parser: argparse.ArgumentParser, *path: str) -> Iterator[Offers]:
    """A command's, and those of its subcommands."""
    if OPTION in parser._option_string_actions:
        describe_plugins(parser)
    named = [action for action in parser._actions if action.option_strings and action.help != argparse.SUPPRESS]
    plain = [(str(word), "") for action in parser._actions if _is_choice(action) for word in action.choices or ()]
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    helps = [(choice.dest, _short(choice.help)) for each in below for choice in each._choices_actions]
    yield Offers(path, tuple(map(_option, named)), (*helps, *plain))
    for each in below:
        for name, inner in each.choices.items():
            yield from offers_of(inner, *path, name)


def _is_choice(action: argparse.Action) -> bool:
    return not action.option_strings and not isinstance(action, argparse._SubParsersAction)


def _option(action: argparse.Action) -> Option:
    values = tuple(str(value) for value in action.choices or ())
    return Option(tuple(action.option_strings), _short(expanded(action)), action.nargs != 0, values)


def _short(text: str | None) -> str:
    """The first sentence on one line, of letters that no shell takes for anything else."""
    words = " ".join((text or "").split()).partition(". ")[0]
    safe = "".join(letter if letter.isalnum() or letter in " ,.;:'()-+/=%" else "" for letter in words)
    return safe if len(safe) <= _LONGEST_HELP else f"{safe[: _LONGEST_HELP - 3].rstrip()}..."


def of_mflux() -> list[Offers]:
    """Those of mflux's commands, which its own generator has parsers of; none in a version whose generator fails."""
    startup.install()  # so that in this process, too, the parsers of mflux have --plugin
    try:
        from mflux.cli.completions.generator import CompletionGenerator

        generator = CompletionGenerator()
        parsers = {command: generator.create_parser_for_command(command) for command in generator.commands}
    except Exception:  # noqa: BLE001 - as its own mflux-completions do up to mflux 0.18
        return []
    return [each for command, parser in parsers.items() for each in offers_of(parser, command)]
