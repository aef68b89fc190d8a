"""What one run asks of plugins: by its command line, and by the sidecar (``-C run.json``) that it replays."""

from __future__ import annotations

import argparse
import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mflux_teacache import options
from mflux_teacache.cli.mflux.arguments import COMPILE_BLOCKS, NONE, OPTION, SIDECAR_OPTIONS
from mflux_teacache.cli.mflux.sidecar_replay import Replacement, replacement
from mflux_teacache.cli.mflux.unknown import refuse_unknown
from mflux_teacache.errors import OptionError, PluginError, PluginWarning, Refused
from mflux_teacache.image_record.read import Recorded, read_beside_mflux
from mflux_teacache.options import Declared, Said
from mflux_teacache.pieces.output_files import is_output
from mflux_teacache.plugins import Loaded, PluginSet, Request, load
from mflux_teacache.words import Given, Line, read


@dataclass(frozen=True, slots=True)
class Asked:
    """Which plugins a command line asks for, and whether blocks are to be compiled.

    Attributes:
        names: in the order in which they were named, each once; empty after ``--plugin none``.
        sidecar: the file of ``-C``, which may name plugins; ``None`` also after ``--plugin none``.
        compile_blocks: ``None`` if the command line does not say; the sidecar may.
    """

    names: tuple[str, ...] = ()
    sidecar: Path | None = None
    compile_blocks: bool | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a run asks for; it is false if that is nothing.

    Attributes:
        requests: the plugins, in the order in which they were named.
        compile_blocks: as in ``attach``.
        source: the sidecar that named the plugins, if the command line did not.
        replacement: what repeats the decisions of one of them in its place, if they are to be repeated.
    """

    requests: Sequence[Request] = ()
    compile_blocks: bool = False
    source: Path | None = None
    replacement: Replacement | None = None

    def __bool__(self) -> bool:
        return bool(self.requests) or self.compile_blocks


def asked_for(line: Line) -> Asked:
    """What a command line asks for.

    Raises:
        OptionError: ``--plugin none`` together with a plugin.
    """
    named: list[str] = []
    sidecar: Path | None = None
    compile_blocks: bool | None = None
    for given in line.given:
        names = given.action.option_strings
        if OPTION in names:
            named += given.words
        elif COMPILE_BLOCKS in names:
            compile_blocks = not given.option.startswith("--no-")
        elif not set(SIDECAR_OPTIONS).isdisjoint(names):
            sidecar = Path(given.words[0])
    if NONE not in named:
        return Asked(tuple(dict.fromkeys(named)), sidecar, compile_blocks)
    if others := " and ".join(repr(name) for name in dict.fromkeys(named) if name != NONE):
        raise OptionError(
            f"{OPTION} {NONE} switches plugins off, and {others} was asked for too. Leave one of them out."
        )
    return Asked(compile_blocks=compile_blocks)


def choose(asked: Asked, parser: argparse.ArgumentParser, argv: Sequence[str]) -> Chosen:
    """Load what the command line asks for, else what its sidecar names, and put the options on mflux's parser.

    If the command line asks for help, or mflux is going to refuse it, nothing is asked for.

    Raises:
        Refused: a plugin that is not installed or does not fit, an option that does not exist, a value that is not
            allowed, or a malformed entry in the sidecar.
    """
    recorded = _recorded(asked.sidecar)
    source = None if asked.names else asked.sidecar  # whose fault it is if a plugin cannot be had
    with naming(source):
        plugins = [Declared(load(name)) for name in asked.names or recorded.options]
    for plugin in plugins:
        plugin.put_on(parser)
    line = _read_again(asked, parser, argv, plugins)
    if line is None:
        return Chosen()

    said = {plugin.plugin.name: plugin.said_in(line.given) for plugin in plugins}
    if line.asks_for_help:
        for plugin in plugins:  # so that a value that is not allowed is refused all the same
            plugin.take(said[plugin.plugin.name].given, complete=False)
        return Chosen()
    requests = [_request(plugin, said[plugin.plugin.name], recorded, asked.sidecar) for plugin in plugins]
    if asked.names and asked.sidecar:
        _warn_of_left_out(asked.sidecar, recorded, [plugin.plugin for plugin in plugins])
    compile_blocks = recorded.compile_blocks if asked.compile_blocks is None else asked.compile_blocks
    repeated = None
    if source is not None and recorded.decided is not None and not said.get(recorded.decided.plugin):
        repeated = replacement(source, recorded.decided, list(recorded.options), line)
    return Chosen(requests, compile_blocks, source, repeated)


def _recorded(sidecar: Path | None) -> Recorded:
    if sidecar is None:
        return Recorded()
    with naming(sidecar):
        return read_beside_mflux(sidecar)


def _read_again(
    asked: Asked, parser: argparse.ArgumentParser, argv: Sequence[str], plugins: Sequence[Declared]
) -> Line | None:
    """The command line with the plugins' options known; ``None`` if mflux refuses it for something of its own."""
    line = read(parser, argv)
    if line.problem is not None:
        if any(option.startswith((plugin.prefix, plugin.no_prefix)) for plugin in plugins for option in line.about):
            raise OptionError(line.problem)
        return None
    if line.unknown_options:
        refuse_unknown(line, plugins, anybodys=bool(plugins))
    if asked_for(line) != asked:  # what looked like ours is a value, now that the plugins' options are known
        names = ", ".join(plugin.plugin.name for plugin in plugins)
        raise OptionError(
            f"--plugin, --plugin-compile-blocks or -C stands where an option of {names} takes whatever follows it. "
            f"Give them before the options of plugins."
        )
    return line


def _request(plugin: Declared, said: Said, recorded: Recorded, path: Path | None) -> Request:
    """A plugin with what is recorded of its options, except for what the command line says anew."""
    with naming(path), options.naming(plugin.plugin):
        restored = _restored(plugin, recorded.options.get(plugin.plugin.name, {}), said)
        plugin.take(restored, complete=False)  # by itself, so that only the file's own faults are laid to it
    return Request(plugin.plugin, plugin.take([*restored, *said.given]))


def _restored(plugin: Declared, recorded: dict[str, Any], said: Said) -> list[Given]:
    """The recorded options that still hold. A sidecar does not say which files are written."""
    plugin.given(recorded)  # which refuses an unknown one
    lifted = _lifted(plugin, said)
    kept = {
        name: value
        for name, value in recorded.items()
        if (action := plugin.by_keyword[name]).dest not in lifted and not is_output(action)
    }
    return plugin.given(_without_idle_alternatives(plugin, kept))


def _lifted(plugin: Declared, said: Said) -> set[str]:
    """The destinations in argparse that the command line says anew: with an option go all that it excludes."""
    given = {given.action.dest for given in said.given}
    groups = [{action.dest for action in group} for group in plugin.exclusive]
    return given.union({action.dest for action in said.taken_back}, *(group for group in groups if group & given))


def _without_idle_alternatives(plugin: Declared, recorded: dict[str, Any]) -> dict[str, Any]:
    """Leave out an option with its default that is recorded beside the one, excluding it, that was given."""
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
    """How to have them all; empty if nobody can, such as of two plugins that both decide."""
    try:
        PluginSet([load(name) for name in names])
    except PluginError:
        return ""
    return f" To have all: {' '.join(f'--plugin {name}' for name in names)}."


@contextlib.contextmanager
def naming(sidecar: Path | None) -> Iterator[None]:
    """Say in a refusal that it is about this file, if it is about one, and how to go on without it."""
    try:
        yield
    except Refused as error:
        if sidecar is None:
            raise
        message = str(error).removesuffix(".")
        raise type(error)(f"{sidecar}: {message}. Or run without the plugins of this file: --plugin none.") from error
