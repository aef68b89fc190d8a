"""The options of all installed plugins, for commands that describe others and run none: completions, capabilities."""

from __future__ import annotations

import argparse
import contextlib
import copy
import re
from functools import cache

from mflux_teacache.cli.mflux.arguments import NONE, OPTION
from mflux_teacache.discovery import installed
from mflux_teacache.errors import PluginError
from mflux_teacache.options import Declared
from mflux_teacache.plugins import load

# What a shell takes as a word; a plugin of another name can be typed, and is not offered.
_WORD = re.compile(r"[\w.+-]+")


def describe_plugins(parser: argparse.ArgumentParser) -> None:
    """Let a parser with ``--plugin`` offer the names of plugins and their options, without checking either."""
    for action in plugin_options():
        with contextlib.suppress(argparse.ArgumentError):  # mflux has an option of that name
            parser._add_action(copy.copy(action))
    parser._option_string_actions[OPTION].choices = plugin_names()


def plugin_names() -> list[str]:
    """What ``--plugin`` takes."""
    names = dict.fromkeys(plugin.name for plugin in installed() if plugin.unusable is None)
    return [*filter(_WORD.fullmatch, names), NONE]


@cache
def plugin_options() -> list[argparse.Action]:
    """The options of all plugins that can be loaded, with their help as it is shown."""
    found = []
    for name in plugin_names():
        with contextlib.suppress(PluginError):  # one that is broken has no options to describe
            found += [_described(action) for action in Declared(load(name)).actions] if name != NONE else []
    return found


def _described(action: argparse.Action) -> argparse.Action:
    shown = copy.copy(action)
    shown.required = False  # it is, only together with its plugin
    shown.help = expanded(action)
    return shown


def expanded(action: argparse.Action) -> str | None:
    """An option's help, with its placeholders filled in."""
    with contextlib.suppress(KeyError, TypeError, ValueError):  # a bare percent sign is no valid format
        return argparse.HelpFormatter("")._expand_help(action) if action.help else None
    return action.help
