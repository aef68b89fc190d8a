"""Loading a plugin by name, and the set of plugins of one attachment."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pluggy

from mflux_teacache import hookspecs
from mflux_teacache.about import REUSES, About
from mflux_teacache.addresses import page
from mflux_teacache.discovery import GROUP as GROUP
from mflux_teacache.discovery import PACKAGE, find
from mflux_teacache.discovery import Installed as Installed
from mflux_teacache.discovery import installed as installed
from mflux_teacache.errors import BrokenPlugin, PluginError, PluginWarning, Refused, is_interruption
from mflux_teacache.messages import did_you_mean
from mflux_teacache.spelling import brief, described

if TYPE_CHECKING:
    from mflux_teacache.records import Target

PROJECT = "mflux"
DECIDES = "mflux_pre_transformer"
_HOOKS = [name for name in vars(hookspecs) if name.startswith("mflux_")]

Factory = Callable[[], Any]


@dataclass(frozen=True)
class Loaded:
    """A plugin's class or factory, and where it comes from (``""`` for a class that was passed in)."""

    name: str
    factory: Factory
    package: str = ""
    version: str = ""

    @cached_property
    def hooks(self) -> Hooks:
        """The hooks, called on the class itself. Reading them refuses what ``check_fit`` refuses."""
        return Hooks({self.name: self.factory})

    @property
    def about(self) -> About:
        """What the plugin says of itself; raises ``BrokenPlugin`` if that is not an ``About``."""
        return about_of(self.name, self.factory)


def load(name: str) -> Loaded:
    """Import the one plugin of this name.

    Raises:
        UnknownPlugin: no installed package provides it; the message lists what is installed.
        BrokenPlugin: several packages provide it, nobody could name it, importing it fails, or it does not fit the
            hooks.
    """
    plugin = find(name)
    loaded = Loaded(name, _imported(plugin), plugin.package, plugin.version)
    check_fit(loaded)
    return loaded


def our_own() -> Iterator[tuple[str, About]]:
    """The names of this package's installed plugins, and what they say of themselves. No other package is imported."""
    for plugin in installed():
        if plugin.package == PACKAGE:
            yield plugin.name, about_of(plugin.name, plugin.entry_point.load())


def _imported(plugin: Installed) -> Factory:
    try:
        factory: Factory = plugin.entry_point.load()
    except (Exception, SystemExit) as error:  # a module may do anything as it is imported, even exit
        raise BrokenPlugin(
            f"plugin {plugin.name!r} of package {plugin.package} {plugin.version} cannot be imported: "
            f"{described(error)}. Reinstall or upgrade that package, or leave the plugin out."
        ) from error
    return factory


def check_fit(plugin: Loaded) -> None:
    """Refuse a plugin whose hooks are misspelt, unmarked, or take arguments that do not exist."""
    if not callable(plugin.factory):
        raise BrokenPlugin(
            f"plugin {plugin.name!r} is {plugin.factory!r}; its entry point must name a class or a factory."
        )
    _ = plugin.hooks  # reading them is the check


def _new_manager(plugins: Mapping[str, Any]) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    for name, plugin in plugins.items():
        try:
            manager.register(plugin, name)
            manager.check_pending()
            _refuse_unmarked(manager, name, plugin)
            _refuse_what_waits(manager, name, plugin)
            _refuse_without_self(manager, name, plugin)
        except BrokenPlugin:
            raise
        except (pluggy.PluginValidationError, ValueError) as error:
            raise BrokenPlugin(f"plugin {name!r} does not fit the hooks: {_misfit(error)} {_known_hooks()}") from error
        except Exception as error:  # pluggy reads and compares a plugin's attributes, which may raise
            raise BrokenPlugin(
                f"plugin {name!r} does not fit the hooks: reading its attributes failed: {described(error)}. Its "
                f"authors must correct that."
            ) from error
    return manager


def _misfit(error: Exception) -> str:
    """What pluggy says, on one line, and the hook that may have been meant."""
    said = " ".join(str(error).split()).removesuffix(".")
    unknown = re.search(r"unknown hook '(\w+)'", said)
    return f"{said}.{did_you_mean(unknown[1], _HOOKS) if unknown else ''}"


def _refuse_without_self(manager: pluggy.PluginManager, name: str, plugin: Any) -> None:
    """Refuse a method that was written without ``self``: Python would pass it the plugin as its first argument."""
    for caller, implementation in _implementations(manager, plugin):
        function = implementation.function
        if inspect.ismethod(function) and not isinstance(function.__self__, type):
            parameters = list(inspect.signature(function.__func__).parameters)
            if caller.spec is not None and parameters and parameters[0] in caller.spec.argnames:
                raise BrokenPlugin(
                    f"plugin {name!r}: the first parameter of {caller.name} is {parameters[0]!r}, and Python passes "
                    f"the plugin itself there. Write it as def {caller.name}({', '.join(['self', *parameters])})."
                )


def _implementations(manager: pluggy.PluginManager, plugin: Any) -> Iterator[tuple[Any, Any]]:
    """The hooks of a plugin: pluggy's caller, and what it calls."""
    for caller in manager.get_hookcallers(plugin) or ():
        for implementation in caller.get_hookimpls():
            yield caller, implementation


def _refuse_unmarked(manager: pluggy.PluginManager, name: str, plugin: Any) -> None:
    """Refuse a hook without the marker."""
    # pluggy passes over it without a word, and a plugin that never runs looks like one that works.
    for attribute in dir(plugin):
        if attribute.startswith("mflux_") and manager.parse_hookimpl_opts(plugin, attribute) is None:
            raise BrokenPlugin(
                f"plugin {name!r}: {attribute} is not marked. "
                f"Put @hookimpl (from mflux_teacache import hookimpl) right above its def."
            )


def _refuse_what_waits(manager: pluggy.PluginManager, name: str, plugin: Any) -> None:
    """Refuse coroutines and generators: calling one only creates it, and its body never runs."""
    for caller, implementation in _implementations(manager, plugin):
        wraps = implementation.wrapper or implementation.hookwrapper
        function = implementation.function
        generates = inspect.isgeneratorfunction(function) and not wraps
        if generates or inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            kind = "a generator" if generates else "async"
            raise BrokenPlugin(
                f"plugin {name!r}: {caller.name} is {kind}, and hooks are called as plain functions. Write it "
                f"without {'yield' if generates else 'async'}."
            )


def _known_hooks() -> str:
    return (
        f"The hooks are {', '.join(_HOOKS)}; help('mflux_teacache.hookspecs') and {page('hooks')} have their arguments."
    )


class Hooks:
    """The hooks of a set of plugins.

    Attributes:
        callers: for each hook, a caller for each plugin that implements it, in the order in which they were named.
    """

    def __init__(self, plugins: Mapping[str, Any]) -> None:
        self._manager = _new_manager(plugins)
        self.callers: dict[str, dict[str, Callable[..., Any]]] = {}
        for hook in _HOOKS:
            caller = getattr(self._manager.hook, hook)
            owners = [impl.plugin_name for impl in caller.get_hookimpls()]
            # One caller for each plugin: called all together, they would not tell whose fault an error is.
            self.callers[hook] = {
                name: self._manager.subset_hook_caller(hook, [p for n, p in plugins.items() if n != name])
                for name in plugins
                if name in owners
            }

    def implementers(self, hook: str) -> list[str]:
        """Names of the plugins that implement a hook."""
        return list(self.callers[hook])

    def call(self, plugin: str, hook: str, /, **arguments: Any) -> Any:
        """Call one plugin's hook. The result is ``None`` if it does not implement the hook; errors pass through."""
        caller = self.callers[hook].get(plugin)
        if caller is None:
            return None
        result = caller(**arguments)
        # pluggy gives a list unless the hook is a first-result one; with one plugin it has one entry.
        return (result[0] if result else None) if isinstance(result, list) else result


class PluginSet(Hooks):
    """The plugins of one attachment, instantiated. A set serves one image at a time.

    Args:
        plugins: the requested plugins, in the order in which they were named.
        shared: instances, by name, that are used in place of new ones.

    Raises:
        Refused: two of them decide.
        BrokenPlugin: one cannot be made, or does not fit the hooks.
    """

    def __init__(self, plugins: list[Loaded], shared: Mapping[str, Any] | None = None) -> None:
        self.loaded = {plugin.name: plugin for plugin in plugins}
        shared = shared or {}
        self._instances = {
            plugin.name: shared[plugin.name] if plugin.name in shared else _make(plugin) for plugin in plugins
        }
        super().__init__(self._instances)
        self._abouts = {name: about_of(name, plugin) for name, plugin in self._instances.items()}
        deciders = self.implementers(DECIDES)
        if len(deciders) > 1:
            # A class may say why nobody can decide beside it.
            why = [f", and {name!r} {alone}" for name in deciders if (alone := self._abouts[name].alone)]
            raise Refused(
                f"plugins {' and '.join(map(repr, deciders))} both decide which steps are skipped{''.join(why)}. "
                f"Name one of them; plugins that only observe can be added freely."
            )
        self.decider = deciders[0] if deciders else None

    @property
    def names(self) -> list[str]:
        return list(self.loaded)

    @property
    def keeping_images_apart(self) -> dict[str, Any]:
        """The instances, by name, that may serve several overlapping images."""
        return {name: plugin for name, plugin in self._instances.items() if self._abouts[name].keeps_images_apart}

    def again(self) -> PluginSet:
        """Further instances, for another image at the same time."""
        return PluginSet(list(self.loaded.values()), self.keeping_images_apart)

    def mixed_up_with(self, others: PluginSet) -> list[str]:
        """Names of plugins that are the same object in both sets and do not claim to keep images apart."""
        apart = self.keeping_images_apart
        return [
            name
            for name, plugin in self._instances.items()
            if name not in apart and plugin is others._instances.get(name)
        ]

    @property
    def about(self) -> About:
        """What the deciding plugin says of itself."""
        return About() if self.decider is None else self._abouts[self.decider]

    @property
    def threshold(self) -> object:
        """The threshold that the deciding plugin states, once it is attached."""
        return (
            None if self.decider is None else _attribute(self.decider, self._instances[self.decider], "threshold", None)
        )

    @property
    def reuses(self) -> str | None:
        """What the deciding plugin reuses: ``body`` or ``output``; ``None`` where it does not say."""
        if self.decider is None:
            return None
        decider = self._instances[self.decider]
        value = _attribute(self.decider, decider, "reuses", self.about.reuses)
        if value not in (None, *REUSES):
            raise BrokenPlugin(
                f"plugin {self.decider!r}: reuses is {brief(value)}; it must be one of {', '.join(REUSES)}, or None."
            )
        return None if value is None else str(value)

    @property
    def residual_after(self) -> int:
        """How many of the body's first blocks the deciding plugin wants to run in every step."""
        if self.decider is None:
            return 0
        decider = self._instances[self.decider]
        value = _attribute(self.decider, decider, "residual_after", self.about.residual_after)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BrokenPlugin(
                f"plugin {self.decider!r}: residual_after is {brief(value)}; it must be a whole number from 0, "
                f"the number of blocks that run in every step."
            )
        return value

    def check(self, plugin: str, hook: str, /, **arguments: Any) -> Any:
        """Call a hook of one plugin whose raising is a refusal.

        Raises:
            PluginError: as the plugin raised it.
            BrokenPlugin: the plugin raised anything else.
        """
        try:
            return self.call(plugin, hook, **arguments)
        except (PluginError, PluginWarning):  # a warning is one that the user has made an error
            raise
        except BaseException as error:
            if is_interruption(error):
                raise
            raise BrokenPlugin(
                f"plugin {plugin!r} failed in {hook}: {described(error)}. "
                f"Leave out --plugin {plugin}, or report this to its authors."
            ) from error


@dataclass(frozen=True, slots=True)
class Request:
    """A requested plugin with its options."""

    plugin: Loaded
    options: argparse.Namespace


def check_all(plugins: PluginSet, requests: Sequence[Request], target: Target) -> None:
    """Give every plugin the chance to refuse."""
    for request in requests:
        plugins.check(request.plugin.name, "mflux_check", options=request.options, target=target)


def attach_all(
    plugins: PluginSet, requests: Sequence[Request], target: Target, model: Any, *, without: PluginSet | None = None
) -> None:
    """Let every plugin read its options.

    Args:
        without: a set that is attached already; the instances that both sets share are not attached twice.
    """
    attached = {} if without is None else without.keeping_images_apart
    for request in requests:
        name = request.plugin.name
        if name not in attached:
            plugins.check(name, "mflux_attach", options=request.options, target=target, model=model)


def _make(plugin: Loaded) -> Any:
    try:
        made = plugin.factory()
    except PluginError:
        raise
    except BaseException as error:  # SystemExit and CancelledError too: they would end the command without a name
        if is_interruption(error):
            raise
        raise BrokenPlugin(
            f"plugin {plugin.name!r} cannot be made: {described(error)}. "
            f"Its class is called without arguments; options come with mflux_attach."
        ) from error
    if made is None or isinstance(made, type):
        raise BrokenPlugin(
            f"plugin {plugin.name!r} cannot be made: calling it gave {brief(made)}, and it must give an object with "
            f"hooks. Name the plugin's class, or a function that returns an instance of it."
        )
    return made


def about_of(name: str, plugin: object) -> About:
    """The record on a plugin's class, factory or instance; one with all defaults if it has none.

    Raises:
        BrokenPlugin: its ``about`` is not an ``About``, or cannot be read.
    """
    record = _attribute(name, plugin, "about", None)
    if record is None:
        return About()
    if not isinstance(record, About):
        raise BrokenPlugin(
            f"plugin {name!r} does not say what it is: its about is {record!r}; it must be an mflux_teacache.About, or "
            f"be left out. Its authors must mend that."
        )
    return record


def _attribute(name: str, plugin: Any, attribute: str, default: Any) -> Any:
    try:
        return getattr(plugin, attribute, default)
    except Exception as error:
        raise BrokenPlugin(
            f"plugin {name!r}: reading {attribute} failed: {described(error)}. Leave out --plugin {name}, "
            f"or report this to its authors."
        ) from error
