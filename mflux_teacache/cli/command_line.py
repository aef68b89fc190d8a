"""Extends mflux's command-line parser: ``--plugin`` and what goes with it, and the options of a run's plugins."""

from __future__ import annotations

import argparse
import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from mflux_teacache.cli.arguments import COMPILE_BLOCKS, COMPILE_BLOCKS_HELP, HELP, OPTION, Asked, asked_for
from mflux_teacache.cli.messages import reported, show_warnings
from mflux_teacache.errors import OptionError, PluginWarning

if TYPE_CHECKING:
    from mflux_teacache.cli.choice import Chosen

AddArguments = Callable[[argparse.ArgumentParser], None]
ParseArguments = Callable[[argparse.ArgumentParser], argparse.Namespace]


def extend(parsers: ModuleType) -> None:
    """Wrap the two methods of mflux's parser that matter. A parser that has changed is left alone, with a warning."""
    try:
        parser = parsers.CommandLineParser
        add_arguments, parse_arguments = parser.add_output_arguments, parser.parse_args
    except AttributeError as error:
        warnings.warn(
            f"{OPTION} is off: the parser of the installed mflux has changed ({error}). "
            f"Upgrade mflux-teacache-plugin, or set MFLUX_PLUGINS=0 to silence this.",
            PluginWarning,
            stacklevel=2,
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
        if OPTION not in parser._option_string_actions:
            return original(parser)

        argv = sys.argv[1:]
        with reported(parser.prog):
            chosen = _chosen(asked_for(parser, argv), parser, argv)
            _refuse_options_without_plugin(parser, argv, chosen)
        namespace = original(parser)
        for ours in ("plugin", "plugin_compile_blocks"):
            vars(namespace).pop(ours, None)
        if chosen:
            _begin(parser.prog, chosen, namespace)
        return namespace

    return parse_args


# The machinery is imported only for a run that asks for plugins.


def _chosen(asked: Asked, parser: argparse.ArgumentParser, argv: Sequence[str]) -> Chosen | None:
    if asked == Asked():
        return None
    from mflux_teacache.cli.choice import choose

    show_warnings(parser.prog)
    return choose(asked, parser, argv)


def _refuse_options_without_plugin(parser: argparse.ArgumentParser, argv: Sequence[str], chosen: Chosen | None) -> None:
    """Before argparse shows its usage, which does not say what is missing."""
    options = (word.partition("=")[0] for word in argv if word.startswith("--"))
    unknown = [option for option in options if option not in parser._option_string_actions]
    if not unknown:
        return
    from mflux_teacache.plugins import installed

    on = {choice.plugin.name for choice in chosen.plugins} if chosen else set()
    names = sorted({plugin.name for plugin in installed()}, key=len, reverse=True)  # teacache-record before teacache
    for option in unknown:
        name = next((name for name in names if option.startswith((f"--{name}-", f"--no-{name}-"))), None)
        if name is not None and name not in on:
            raise OptionError(f"{option} is for the plugin {name}, which is off. Add {OPTION} {name}, or leave it out.")


def _begin(command: str, chosen: Chosen, namespace: argparse.Namespace) -> None:
    from mflux_teacache.cli.session import Session
    from mflux_teacache.cli.sidecar import naming

    with reported(command), naming(chosen.source):
        requests = [choice.request(namespace) for choice in chosen.plugins]
        replacement = next((choice.replacement for choice in chosen.plugins if choice.replacement), None)
        session = Session(
            command, requests, namespace, replacement, compile_blocks=chosen.compile_blocks, source=chosen.source
        )
        session.begin()
