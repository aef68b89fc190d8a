"""What one run asks of plugins: from the command line, and from the sidecar that it replays."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mflux_teacache import options
from mflux_teacache.attachment import Request
from mflux_teacache.cli.mflux import replay, sidecar, stand_ins
from mflux_teacache.cli.mflux.arguments import Asked, asked_for
from mflux_teacache.cli.mflux.replay import Replacement
from mflux_teacache.cli.mflux.stand_ins import Spoken
from mflux_teacache.cli.mflux.unknown import refuse_unknown
from mflux_teacache.errors import OptionError, PluginError, PluginWarning
from mflux_teacache.image_record.read import Recorded
from mflux_teacache.options import Declared
from mflux_teacache.pieces.output_files import is_output
from mflux_teacache.plugins import Loaded, PluginSet, load
from mflux_teacache.words import Given, Line, read


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a run asks for; nothing, if it is false.

    Attributes:
        requests: the plugins, in the order in which they were named.
        compile_blocks: as in ``attach``.
        source: the sidecar that named them, if the command line did not.
        replacement: what repeats the decisions of one of them in its place, if they are to be repeated.
    """

    requests: Sequence[Request] = ()
    compile_blocks: bool = False
    source: Path | None = None
    replacement: Replacement | None = None

    def __bool__(self) -> bool:
        return bool(self.requests) or self.compile_blocks


def choose(asked: Asked, parser: argparse.ArgumentParser, argv: Sequence[str]) -> Chosen:
    """Load what the command line asks for, else what its sidecar names, and put the options on mflux's parser.

    Where the command line asks for help, or mflux will refuse it, nothing is asked for.

    Raises:
        Refused: a plugin that is not installed or does not fit, an option that does not exist, a value that is not
            allowed, or a malformed entry in the sidecar.
    """
    recorded = sidecar.read(asked.sidecar) if asked.sidecar else Recorded()
    source = None if asked.names else asked.sidecar
    with sidecar.naming(source):
        plugins = [Declared(load(name)) for name in asked.names or recorded.options]
    for plugin in plugins:
        stand_ins.put_on(parser, plugin)
    line = _read_again(asked, parser, argv, plugins)
    if line is None:
        return Chosen()

    said = {plugin.plugin.name: stand_ins.spoken(plugin, line.given) for plugin in plugins}
    if line.asks_for_help:
        for plugin in plugins:
            plugin.take(said[plugin.plugin.name].given, complete=False)
        return Chosen()
    requests = [_request(plugin, said[plugin.plugin.name], recorded, asked.sidecar) for plugin in plugins]
    if asked.names and asked.sidecar:
        _warn_of_left_out(asked.sidecar, recorded, [plugin.plugin for plugin in plugins])
    compile_blocks = recorded.compile_blocks if asked.compile_blocks is None else asked.compile_blocks
    decided = recorded.decided
    replacement = None
    if source is not None and decided is not None and not said.get(decided.plugin):
        replacement = replay.replacement(source, decided, list(recorded.options), line)
    return Chosen(requests, compile_blocks, source, replacement)


def _read_again(
    asked: Asked, parser: argparse.ArgumentParser, argv: Sequence[str], plugins: Sequence[Declared]
) -> Line | None:
    """The command line with the plugins' options known; ``None`` where mflux refuses it for something of its own."""
    line = read(parser, argv)
    if line.problem is not None:
        if any(option.startswith((plugin.prefix, plugin.no_prefix)) for plugin in plugins for option in line.about):
            raise OptionError(line.problem)
        return None
    refuse_unknown(line, plugins, anybodys=bool(asked.names or plugins))
    if asked_for(line) != asked:
        names = ", ".join(plugin.plugin.name for plugin in plugins)
        raise OptionError(
            f"--plugin, --plugin-compile-blocks or -C stands where an option of {names} takes whatever follows it. "
            f"Give them before the options of plugins."
        )
    return line


def _request(plugin: Declared, said: Spoken, recorded: Recorded, path: Path | None) -> Request:
    """With what is recorded of the plugin's options, except for what the command line says anew."""
    with sidecar.naming(path), options.naming(plugin.plugin):
        restored = _restored(plugin, recorded.options.get(plugin.plugin.name, {}), said)
        plugin.take(restored, complete=False)
    return Request(plugin.plugin, plugin.take([*restored, *said.given]))


def _restored(plugin: Declared, recorded: dict[str, Any], said: Spoken) -> list[Given]:
    """The recorded options that still hold; but no files to write."""
    plugin.given(recorded)  # which refuses an unknown one
    lifted = _lifted(plugin, said)
    kept = {
        name: value
        for name, value in recorded.items()
        if (action := plugin.by_keyword[name]).dest not in lifted and not is_output(action)
    }
    return plugin.given(_without_idle_alternatives(plugin, kept))


def _lifted(plugin: Declared, said: Spoken) -> set[str]:
    """Destinations in argparse that the command line says anew: with an option go all that it excludes."""
    given = {given.action.dest for given in said.given}
    groups = [{action.dest for action in group} for group in plugin.exclusive]
    return given.union({action.dest for action in said.taken_back}, *(group for group in groups if group & given))


def _without_idle_alternatives(plugin: Declared, recorded: dict[str, Any]) -> dict[str, Any]:
    """Of options that exclude each other, one that has its default is recorded beside the one that was given."""
    defaults = options.as_json(plugin.take((), complete=False))
    idle: set[str] = set()
    for group in plugin.exclusive:
        names = [name for name in map(plugin.keyword, group) if recorded.get(name) is not None]
        if len(names) > 1:
            idle.update(name for name in names if recorded[name] == defaults.get(name))
    return {name: value for name, value in recorded.items() if name not in idle}


def _warn_of_left_out(path: Path, recorded: Recorded, named: Sequence[Loaded]) -> None:
    left_out = [name for name in recorded.options if all(name != plugin.name for plugin in named)]
    if not left_out:
        return
    together = _together([*left_out, *(plugin.name for plugin in named)])
    warnings.warn(
        f"{path} also names {', '.join(left_out)}, left out since the command line names plugins itself.{together}",
        PluginWarning,
        stacklevel=3,
    )


def _together(names: Sequence[str]) -> str:
    """How to have all; nothing where that cannot be had, such as of two plugins that both decide."""
    try:
        PluginSet([load(name) for name in names])
    except PluginError:
        return ""
    return f" To have all: {' '.join(f'--plugin {name}' for name in names)}."
