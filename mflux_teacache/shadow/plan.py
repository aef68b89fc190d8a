"""Which strategies a shadow run looks at, and with which settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mflux_teacache.errors import PluginError, PluginWarning, Refused
from mflux_teacache.plugins import Loaded, PluginSet, installed, load
from mflux_teacache.records import Target
from mflux_teacache.shadow.simulate import Simulation

T = TypeVar("T")

# Multiples of a strategy's own threshold, from careful to coarse.
MULTIPLES = (0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(slots=True)
class Plan:
    """What is simulated.

    Attributes:
        left_out: why a strategy is not simulated, by its name.
        notes: the warnings of strategies.
    """

    simulations: list[Simulation] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def check(names: Sequence[str] | None, thresholds: Sequence[float] | None, target: Target) -> None:
    """Refuse a shadow run that could show nothing, before weights load.

    Args:
        names: the strategies to look at; ``None`` for every installed one.
        thresholds: the thresholds for those that have one; ``None`` for multiples of their own.

    Raises:
        Refused: a named plugin is not installed or does not decide, or every strategy refuses the model.
    """

    def judge(plugin: Loaded) -> None:
        for simulation in _made(plugin, thresholds):
            simulation.check(target)

    passed, left_out = _each(names, judge)
    if not passed:
        reasons = " ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise Refused(f"A shadow run needs a strategy that runs on this model, and none does. {reasons}".rstrip())


def plan(names: Sequence[str] | None, thresholds: Sequence[float] | None, target: Target, model: Any) -> Plan:
    """Attach a private instance for each strategy and setting. The arguments are those of ``check``."""
    found, left_out = _each(names, lambda plugin: _attached(plugin, thresholds, target, model))
    simulations = [simulation for attached, _ in found for simulation in attached]
    return Plan(simulations, left_out, [note for _, notes in found for note in notes])


def _each(names: Sequence[str] | None, use: Callable[[Loaded], T]) -> tuple[list[T], dict[str, str]]:
    """The result of ``use`` for each strategy, and why others are left out."""
    strategies, left_out = _strategies(names)
    found = []
    for plugin in strategies:
        try:
            found.append(use(plugin))
        except PluginError as refusal:
            left_out[plugin.name] = str(refusal)
    return found, left_out


def _strategies(names: Sequence[str] | None) -> tuple[list[Loaded], dict[str, str]]:
    """The plugins that decide, and why others that were found cannot be used."""
    if names is not None:
        loaded = [load(name) for name in names]
        for plugin in loaded:
            if not _decides(plugin):
                raise Refused(f"plugin {plugin.name!r} decides nothing that a shadow run could look at. Leave it out.")
        return loaded, {}
    strategies, broken = [], {}
    for name in dict.fromkeys(plugin.name for plugin in installed()):
        try:
            plugin = load(name)
            if _decides(plugin):
                strategies.append(plugin)
        except PluginError as error:  # nobody has named this plugin, so that it is broken must not stop the run
            broken[name] = str(error)
    return strategies, broken


def _decides(plugin: Loaded) -> bool:
    return plugin.about.simulated and PluginSet([plugin]).decider is not None


def _made(plugin: Loaded, thresholds: Sequence[float] | None) -> list[Simulation]:
    option = plugin.about.threshold
    if thresholds is None or option is None:
        return [Simulation(plugin, {})]
    return [Simulation(plugin, {option: threshold}) for threshold in sorted(thresholds)]


def _attached(
    plugin: Loaded, thresholds: Sequence[float] | None, target: Target, model: Any
) -> tuple[list[Simulation], list[str]]:
    """The attached simulations of a plugin, and the warnings of the one with the highest threshold."""
    # The others may only warn that their low threshold skips nothing, which the table shows anyway.
    simulations, warned = _made(plugin, thresholds), []
    for simulation in simulations:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PluginWarning)
            simulation.attach(target, model)
        warned = [f"{simulation.name}: {warning.message}" for warning in caught]
    # Only an attached instance knows a threshold that depends on the model, so this one is replaced by the multiples.
    own = simulations[0].threshold
    if thresholds is None and own:
        return _attached(plugin, [float(f"{own * multiple:.3g}") for multiple in MULTIPLES], target, model)
    return simulations, warned
