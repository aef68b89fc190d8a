"""The parser of our own commands. Those that run a plugin take its options, as mflux's commands do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mflux_teacache.cli.mflux.arguments import OPTION
from mflux_teacache.cli.mflux.unknown import refuse_unknown
from mflux_teacache.errors import OptionError, UnknownPlugin
from mflux_teacache.messages import did_you_mean
from mflux_teacache.options import Declared
from mflux_teacache.plugins import load
from mflux_teacache.words import Line, add_keyword, as_keyword, read


class PluginParser(argparse.ArgumentParser):
    """A parser that also takes the options of the plugin that its option ``--plugin`` names, if it has that option.

    The namespace has them as ``plugin_options``, which are keywords for ``attach``; that checks them. So the advice in
    a plugin's messages works in our commands as it does in mflux's. argparse makes the parsers of subcommands of the
    same class.

    What argparse would answer with its usage is an ``OptionError`` of one line, which names the help of the subcommand
    that it is about.
    """

    def error(self, message: str) -> NoReturn:
        stop = "" if message.endswith((".", "?")) else "."
        raise OptionError(f"{message}{stop} See `{self.prog} --help`.")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        namespace = argparse.Namespace() if namespace is None else namespace
        if self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        words = sys.argv[1:] if args is None else list(args)
        plugins = self._with_plugins(words)
        parsed, rest = super().parse_known_args(words, namespace)
        if rest:  # left to the parser of all commands, they would be refused with the help of all commands
            self.error(f"unrecognized arguments: {' '.join(rest)}{self._meant(words)}")
        if OPTION in self._option_string_actions:
            parsed.plugin_options = _keywords(read(self, words), plugins)
        return parsed, rest

    def _with_plugins(self, words: Sequence[str]) -> list[Declared]:
        """The plugins that a line names, whose options the parser has from now on; none if it takes no plugin."""
        if OPTION not in self._option_string_actions:
            return []
        plugins = _named(self, words)
        for plugin in plugins:
            plugin.put_on(self)
        line = read(self, words)
        if line.unknown_options:
            refuse_unknown(line, plugins, anybodys=True)
        return plugins

    def _meant(self, words: Sequence[str]) -> str:
        """The option that may have been meant with the first unknown one, as a sentence."""
        unknown = read(self, words).unknown_options
        shown = (action for action in self._actions if action.help != argparse.SUPPRESS)
        near = did_you_mean(unknown[0], [name for action in shown for name in action.option_strings]) if unknown else ""
        return near and f".{near}"


def _keywords(line: Line, plugins: Sequence[Declared]) -> dict[str, Any]:
    """The plugins' options in a line, as keywords for ``attach``."""
    keywords: dict[str, Any] = {}
    for plugin in plugins:
        for given in plugin.said_in(line.given).given:
            value, name = as_keyword(given.action, [given]), given.option.removeprefix(plugin.prefix)
            add_keyword(keywords, name, value, given.option)
    return keywords


def _named(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[Declared]:
    """The plugin that a line names, or the command's default; empty if the command is going to refuse the name."""
    given = [each.words[0] for each in read(parser, words).given if OPTION in each.action.option_strings]
    name = given[-1] if given else parser.get_default("plugin")
    try:
        return [] if name is None else [Declared(load(name))]
    except UnknownPlugin:  # a package that is on the path but not installed announces no plugins
        return []
