"""Unknown options. They are refused with a suggestion, before argparse prints its usage, which has none."""

from __future__ import annotations

from collections.abc import Sequence

from mflux_teacache.cli.mflux.arguments import NONE, OPTION
from mflux_teacache.discovery import built_in, installed
from mflux_teacache.errors import OptionError, PluginError
from mflux_teacache.messages import did_you_mean
from mflux_teacache.options import Declared
from mflux_teacache.plugins import load
from mflux_teacache.words import Line


def refuse_unknown(line: Line, plugins: Sequence[Declared] = (), *, anybodys: bool) -> None:
    """Refuse the unknown options of a line that look like options of a plugin. The others are left to argparse.

    Args:
        plugins: the plugins of the run.
        anybodys: look for plugins of other packages too, which reads the metadata of all packages.

    Raises:
        OptionError: an option belongs to a plugin that is off, or looks like a plugin's but is not.
    """
    on = {plugin.plugin.name: plugin for plugin in plugins}
    none = any(OPTION in given.action.option_strings and given.words == (NONE,) for given in line.given)
    names = [*on, *((plugin.name for plugin in installed()) if anybodys else built_in())]
    for option in line.unknown_options:
        if (name := _owner(option, names)) is not None:
            raise OptionError(_not_its(option, on[name]) if name in on else _off(option, name, none=none))
        if near := _nearest(option, plugins):
            raise OptionError(f"unknown option {option}.{near}")


def _owner(option: str, names: Sequence[str]) -> str | None:
    longest_first = sorted(names, key=len, reverse=True)  # else teacache would claim the options of teacache-record
    return next((name for name in longest_first if option.startswith((f"--{name}-", f"--no-{name}-"))), None)


def _off(option: str, name: str, *, none: bool) -> str:
    instead = f" in place of {OPTION} {NONE}" if none else ""
    off = f"{option} is for the plugin {name}, which is off. Add {OPTION} {name}{instead}, or leave it out."
    try:
        declared = Declared(load(name))
    except PluginError:  # a plugin that cannot be loaded cannot say whether it has the option
        return off
    return off if _has(declared, option) else _not_its(option, declared)


def _has(declared: Declared, option: str) -> bool:
    taken_back = option.replace(declared.no_prefix, declared.prefix, 1)
    return any({option, taken_back} & set(action.option_strings) for action in declared.actions)


def _not_its(option: str, declared: Declared) -> str:
    name = declared.plugin.name
    return (
        f"the plugin {name} has no option {option}.{_nearest(option, [declared])} `{OPTION} {name} --help` lists its "
        f"options."
    )


def _nearest(option: str, plugins: Sequence[Declared]) -> str:
    return did_you_mean(option, [name for each in plugins for action in each.actions for name in action.option_strings])
