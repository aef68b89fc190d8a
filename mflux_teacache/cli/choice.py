"""What one run asks of plugins: from the command line, and from the sidecar that it replays."""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mflux_teacache import options
from mflux_teacache.attachment import Request
from mflux_teacache.cli import replay, sidecar
from mflux_teacache.cli.arguments import Asked, Reader
from mflux_teacache.cli.replay import Replacement
from mflux_teacache.errors import PluginWarning
from mflux_teacache.output_files import is_output
from mflux_teacache.plugins import Loaded, load
from mflux_teacache.recorded import Recorded


@dataclass(frozen=True, slots=True)
class Choice:
    """A plugin of the run.

    Attributes:
        actions: its options on mflux's parser.
        restored: the sidecar's values for options that the command line leaves out, by destination in argparse.
        replacement: what repeats the plugin's decisions in its place, if they are to be repeated.
    """

    plugin: Loaded
    actions: list[argparse.Action]
    restored: dict[str, Any]
    replacement: Replacement | None = None

    def request(self, namespace: argparse.Namespace) -> Request:
        """Take the plugin's values out of mflux's namespace."""
        vars(namespace).update(self.restored)
        return Request(self.plugin, options.take(namespace, self.plugin, self.actions))


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a run asks for; nothing, if it is false.

    Attributes:
        plugins: in the order in which they were named.
        compile_blocks: as in ``attach``.
        source: the sidecar that named them, if the command line did not.
    """

    plugins: Sequence[Choice] = ()
    compile_blocks: bool = False
    source: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.plugins) or self.compile_blocks


def choose(asked: Asked, parser: argparse.ArgumentParser, argv: Sequence[str]) -> Chosen:
    """Load what the command line asks for, else what its sidecar names, and put the options on mflux's parser.

    Raises:
        Refused: a plugin that is not installed or does not fit, a value that is not allowed, or a malformed entry
            in the sidecar.
    """
    recorded = sidecar.read(asked.sidecar) if asked.sidecar else Recorded()
    choices = []
    for name in asked.names or recorded.options:
        with sidecar.naming(None if asked.names else asked.sidecar):
            plugin = load(name)
        actions = options.declare(parser, plugin)
        given = _given(plugin, argv)
        with sidecar.naming(asked.sidecar):
            restored = _restored(plugin, recorded.options.get(name, {}), actions)
        overruled = _overruled(parser, given)
        choice = _choice(plugin, actions, {dest: value for dest, value in restored.items() if dest not in overruled})
        decided = recorded.decided
        if asked.sidecar and not asked.names and not given and decided is not None and decided.plugin == name:
            choice = dataclasses.replace(choice, replacement=replay.replacement(asked.sidecar, decided, parser, argv))
        choices.append(choice)
    if left_out := [name for name in recorded.options if asked.names and name not in asked.names]:
        warnings.warn(
            f"{asked.sidecar} also names {', '.join(left_out)}, left out since the command line names plugins itself. "
            f"To have all: {' '.join(f'--plugin {name}' for name in (*left_out, *asked.names))}.",
            PluginWarning,
            stacklevel=2,
        )
    compile_blocks = recorded.compile_blocks if asked.compile_blocks is None else asked.compile_blocks
    return Chosen(choices, compile_blocks, None if asked.names else asked.sidecar)


def _given(plugin: Loaded, argv: Sequence[str]) -> set[str]:
    """Destinations in argparse of the plugin's options that a command line sets to something allowed."""
    reader = Reader(plugin.name)
    for action in options.declare(reader, plugin):
        action.default, action.required = argparse.SUPPRESS, False
    namespace, _ = reader.parse_known_args(argv)
    return set(vars(namespace))


def _overruled(parser: argparse.ArgumentParser, given: set[str]) -> set[str]:
    """With the options that exclude one that is given: a threshold of the sidecar gives way to a budget."""
    groups = [{action.dest for action in group._group_actions} for group in parser._mutually_exclusive_groups]
    return given.union(*(group for group in groups if group & given))


def _restored(plugin: Loaded, recorded: dict[str, Any], actions: list[argparse.Action]) -> dict[str, Any]:
    """The recorded options by destination in argparse, held to their own types and choices; but no files to write."""
    if not recorded:
        return {}
    values = options.from_keywords(plugin, recorded)
    return {
        action.dest: getattr(values, name)
        for action in actions
        if (name := options.keyword(plugin, action)) in recorded and not is_output(action)
    }


def _choice(plugin: Loaded, actions: list[argparse.Action], restored: dict[str, Any]) -> Choice:
    for action in actions:
        action.required = action.required and action.dest not in restored
    return Choice(plugin, actions, restored)
