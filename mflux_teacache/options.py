"""A plugin's options: declared on argparse once, for the command line and for keywords of ``attach``."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from mflux_teacache.errors import BrokenPlugin, OptionError, PluginError
from mflux_teacache.plugins import Hooks, Loaded


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def declare(parser: argparse.ArgumentParser, plugin: Loaded) -> list[argparse.Action]:
    """Add a plugin's options to a parser, in a group of its own.

    Returns the actions that were added.

    Raises:
        BrokenPlugin: ``mflux_add_options`` raised, an option lacks the prefix ``--<name>-``, or exists already.
    """
    before = list(parser._actions)
    group = parser.add_argument_group(f"plugin {plugin.name}")
    try:
        Hooks({plugin.name: plugin.factory}).call(plugin.name, "mflux_add_options", group=group)
    except PluginError:
        raise
    except argparse.ArgumentError as error:
        raise BrokenPlugin(f"plugin {plugin.name!r}: {error}. Its authors must rename that option.") from error
    except Exception as error:
        raise BrokenPlugin(
            f"plugin {plugin.name!r} failed in mflux_add_options: {type(error).__name__}: {error}. "
            f"The hook is called on the class: it must be a staticmethod or classmethod."
        ) from error
    added = [action for action in parser._actions if action not in before]
    # argparse.BooleanOptionalAction adds --no-<name>-... beside --<name>-...
    prefixes = (f"--{plugin.name}-", f"--no-{plugin.name}-")
    for action in added:
        wrong = [option for option in action.option_strings or [action.dest] if not option.startswith(prefixes)]
        if wrong:
            raise BrokenPlugin(f"plugin {plugin.name!r}: option {wrong[0]} does not start with {prefixes[0]}.")
    return added


def keyword(plugin: Loaded, action: argparse.Action) -> str:
    """``--teacache-skip-first`` -> ``skip_first``."""
    return action.option_strings[0].removeprefix(f"--{plugin.name}-").replace("-", "_")


def take(namespace: argparse.Namespace, plugin: Loaded, actions: list[argparse.Action]) -> argparse.Namespace:
    """Move a plugin's values out of mflux's namespace into one of its own, under their keywords."""
    values = {keyword(plugin, action): getattr(namespace, action.dest) for action in actions}
    for destination in {action.dest for action in actions}:
        delattr(namespace, destination)
    return argparse.Namespace(**values)


def from_keywords(plugin: Loaded, keywords: Mapping[str, Any]) -> argparse.Namespace:
    """Check keywords as the command line would check the flags, and fill in the defaults.

    Raises:
        OptionError: an unknown keyword, or a value that the option's type or choices do not allow.
    """
    parser = _Parser(prog=plugin.name, add_help=False, allow_abbrev=False, argument_default=None)
    actions = declare(parser, plugin)
    known = {keyword(plugin, action): action for action in actions}
    unknown = sorted(set(keywords) - set(known))
    if unknown:
        raise OptionError(
            f"plugin {plugin.name!r} has no option {unknown[0]!r}. It has: {', '.join(sorted(known)) or 'none'}."
        )
    with _named(plugin):
        words = [word for name, value in keywords.items() for word in _as_words(known[name], value)]
        namespace = parser.parse_args(words)
    return take(namespace, plugin, actions)


@contextlib.contextmanager
def _named(plugin: Loaded) -> Iterator[None]:
    try:
        yield
    except OptionError as error:
        raise OptionError(f"plugin {plugin.name!r}: {error}") from None


def _as_words(action: argparse.Action, value: Any) -> list[str]:
    """The command-line words that give an option this value; none where the value means "not given"."""
    option = action.option_strings[0]
    if value is None:
        return []
    if isinstance(action, argparse.BooleanOptionalAction):
        return [option if value else action.option_strings[-1]]
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise OptionError(f"{option} is on or off: True or False, not {value!r}.")
        return [option] if value == action.const else []
    if isinstance(value, bool):
        raise OptionError(f"{option} takes a value; {value} says only on or off.")
    if isinstance(value, list | tuple):
        if isinstance(action, argparse._AppendAction):
            return [f"{option}={entry}" for entry in value]
        if action.nargs is None:
            return [f"{option}={','.join(map(str, value))}"]
        return [option, *map(str, value)]
    return [f"{option}={value}"]


def as_json(options: argparse.Namespace) -> dict[str, Any]:
    """A plugin's options as JSON values, to be recorded with an image and given to ``from_keywords`` later."""
    return {name: _plain(value) for name, value in vars(options).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
