"""The parser of our own commands. Those that run a plugin take its options, as mflux's commands do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mflux_teacache.cli.mflux.arguments import OPTION
from mflux_teacache.cli.mflux.unknown import refuse_unknown
from mflux_teacache.errors import UnknownPlugin
from mflux_teacache.options import Declared
from mflux_teacache.plugins import load
from mflux_teacache.words import add_keyword, as_keyword, read


class PluginParser(argparse.ArgumentParser):
    """A parser that also takes the options of the plugin that its option ``--plugin`` names, if it has that option.

    The namespace has them as ``plugin_options``, which are keywords for ``attach``; that checks them. So the advice in
    a plugin's messages works in our commands as it does in mflux's. argparse makes the parsers of subcommands of the
    same class.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        namespace = argparse.Namespace() if namespace is None else namespace
        if OPTION not in self._option_string_actions:
            return super().parse_known_args(args, namespace)
        words = sys.argv[1:] if args is None else list(args)
        plugins = _named(self, words)
        for plugin in plugins:
            plugin.put_on(self)
        line = read(self, words)
        if line.unknown_options:
            refuse_unknown(line, plugins, anybodys=True)
        parsed, rest = super().parse_known_args(words, namespace)
        parsed.plugin_options = {}
        for plugin in plugins:
            for given in plugin.said_in(line.given).given:
                value, name = as_keyword(given.action, [given]), given.option.removeprefix(plugin.prefix)
                add_keyword(parsed.plugin_options, name, value, given.option)
        return parsed, rest


def _named(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[Declared]:
    """The plugin that a line names, or the command's default; empty if the command is going to refuse the name."""
    given = [each.words[0] for each in read(parser, words).given if OPTION in each.action.option_strings]
    name = given[-1] if given else parser.get_default("plugin")
    try:
        return [] if name is None else [Declared(load(name))]
    except UnknownPlugin:  # a package that is on the path but not installed announces no plugins
        return []
