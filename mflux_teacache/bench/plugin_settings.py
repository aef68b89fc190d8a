"""Plugins with their options: as a command line has them, or those that ``bench quality`` compares by itself."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import product
from typing import Any

from mflux_teacache import options, plugins
from mflux_teacache.about import REUSES, About
from mflux_teacache.bench import patterns
from mflux_teacache.bench.runs import FORECASTS, Setting
from mflux_teacache.errors import OptionError, UnknownPlugin
from mflux_teacache.pieces.forecast import DEFAULT_ORDER
from mflux_teacache.plugins import Loaded
from mflux_teacache.words import add_keyword, keywords_among

_SHARES = (1 / 3, 1 / 2, 2 / 3)  # of the steps that are skipped, where no pattern is given


def setting_of(plugin: str, keywords: Mapping[str, Any]) -> Setting:
    """A plugin with options that it allows.

    Raises:
        OptionError: one that it does not allow.
        UnknownPlugin, BrokenPlugin: as for ``attach``.
    """
    reuse, order = _reusing(load(plugin), keywords)
    return Setting(plugin, keywords, order if order in FORECASTS else 0, reuse)


def _reusing(plugin: Loaded, keywords: Mapping[str, Any]) -> tuple[str | None, int]:
    """What a strategy reuses, and the order of its forecast, by the options or by default; of another plugin none."""
    from mflux_teacache.pieces.cache import order_of  # here, since mlx comes with it

    taken = options.from_keywords(plugin, keywords)
    if "reuse" not in taken:
        return None, 0
    return taken.reuse, order_of(taken, getattr(plugin.factory, "order", DEFAULT_ORDER))


def parse(text: str) -> Setting:
    """``teacache thresh=0.12 forecast=1``; an option alone is one that takes no value.

    Options may also be written as on a command line: ``teacache --teacache-thresh 0.12``.

    Raises:
        OptionError: nothing before the options, or as for ``setting_of``, as are the others.
    """
    name, *words = text.split() or [""]
    if not name or "=" in name:
        raise OptionError(f"--setting is {text!r}; it must be NAME KEY=VALUE ..., such as 'teacache thresh=0.12'.")
    named, others = keywords_among(name, words)
    for key, equals, value in (word.partition("=") for word in others):
        add_keyword(named, key, value if equals else True, f"--setting {text!r}")
    return setting_of(name, named)


def at_patterns(given: Sequence[str], steps: int) -> list[Setting]:
    """Each pattern with both kinds of reuse and every forecast: what these alone change.

    Args:
        given: patterns; none = three that are spread evenly.
        steps: of the denoising loop.

    Raises:
        OptionError: a pattern that a run of so many steps cannot follow.
    """
    chosen = given or [patterns.spread(steps, round(share * steps)) for share in _SHARES]
    checked = [patterns.checked(pattern.upper(), steps, "--patterns") for pattern in chosen]
    return [
        Setting("schedule", {"pattern": pattern, "reuse": reuse, "forecast": str(order)}, order, reuse)
        for pattern, reuse, order in product(checked, REUSES, FORECASTS)
    ]


def default_grid() -> list[Setting]:
    """Every built-in strategy with the settings that it names, and some of them with the other kind of reuse."""
    return [
        setting_of(plugin.name, keywords)
        for plugin in own_strategies().values()
        for keywords in (*_named(plugin.about), *_reusing_otherwise(plugin))
    ]


def _named(about: About) -> Iterator[dict[str, str]]:
    """Forecast by forecast from careful to coarse."""
    for values in product(*reversed([*about.grid.values()])):
        yield dict(zip(about.grid, map(str, reversed(values)), strict=True))


def _reusing_otherwise(plugin: Loaded) -> Iterator[dict[str, str]]:
    """What the plugin does not reuse by default, with the forecast that goes with it by default.

    Every other value is enough for a line in the picture, and keeps the number of settings bearable. The coarsest is
    one of them: the more is skipped, the more depends on how.
    """
    [other] = {*REUSES} - {plugin.about.reuses}
    taken = {"forecast": str(_reusing(plugin, {"reuse": other})[1]), "reuse": other}
    amount = {name: values[::-2][::-1] for name, values in plugin.about.grid.items() if name != "forecast"}
    for values in product(*amount.values()):
        yield {**dict(zip(amount, map(str, values), strict=True)), **taken}


def load(name: str) -> Loaded:
    """A plugin that is installed, or a strategy of ours that is only on the path.

    Raises:
        UnknownPlugin, BrokenPlugin: as for ``attach``.
    """
    try:
        return plugins.load(name)
    except UnknownPlugin:
        if name not in own_strategies():
            raise
        return own_strategies()[name]


@cache
def own_strategies() -> dict[str, Loaded]:
    """This package's strategies that have a grid, by name. They are found as classes: a path announces no plugins."""
    from mflux_teacache import strategies, teacache

    modules = [
        import_module(module.name)
        for package in (teacache, strategies)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    found: list[Any] = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    compared = [cls for cls in found if isinstance(getattr(cls, "about", None), About) and cls.about.grid]
    return {cls.name: Loaded(cls.name, cls) for cls in compared}
