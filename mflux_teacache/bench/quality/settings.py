"""Which settings are compared: from the command line, or the default grid. Nothing is loaded but plugins' options."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint

from mflux_teacache import options, plugins
from mflux_teacache.bench import patterns
from mflux_teacache.bench.quality.runs import FORECASTS, Setting
from mflux_teacache.errors import OptionError, UnknownPlugin
from mflux_teacache.plugins import Loaded
from mflux_teacache.words import add_keyword, keywords_among

# The entry points of pyproject.toml, for a package that is only on the path: it announces none.
BUILT_IN = {
    "teacache": "mflux_teacache.teacache.plugin:TeaCache",
    "first-block-cache": "mflux_teacache.strategies.first_block_cache:FirstBlockCache",
    "easycache": "mflux_teacache.strategies.easycache.plugin:EasyCache",
    "magcache": "mflux_teacache.strategies.magcache.plugin:MagCache",
    "taylorseer": "mflux_teacache.strategies.taylorseer:TaylorSeer",
    "schedule": "mflux_teacache.strategies.schedule:Schedule",
}

# Of each strategy, what says how much it skips. TaylorSeer is its forecast, so it has no grid of them.
_GRID: dict[str, tuple[str, tuple[str, ...], tuple[int, ...]]] = {
    "teacache": ("thresh", ("0.05", "0.08", "0.12", "0.2", "0.3"), (0, 1, 2)),
    "first-block-cache": ("thresh", ("0.04", "0.08", "0.15", "0.3"), (0, 1)),
    "easycache": ("thresh", ("0.02", "0.05", "0.1", "0.2"), (0, 1)),
    "magcache": ("thresh", ("0.03", "0.06", "0.12", "0.24"), (0, 1)),
    "taylorseer": ("interval", ("2", "3", "4", "5"), (1,)),
    "schedule": ("ratio", ("0.3", "0.5", "0.6", "0.7"), (0, 1)),
}
_SHARES = (1 / 3, 1 / 2, 2 / 3)


def default_grid() -> list[Setting]:
    """Every built-in strategy from careful to coarse."""
    return [
        Setting(plugin, {option: value, "forecast": str(order)}, order)
        for plugin, (option, values, orders) in _GRID.items()
        for order in orders
        for value in values
    ]


def at_patterns(given: Sequence[str], steps: int) -> list[Setting]:
    """Each pattern with every forecast: what the forecast alone changes.

    Args:
        given: patterns; none = three that are spread evenly.
        steps: of the denoising loop.

    Raises:
        OptionError: a pattern that a run of so many steps cannot follow.
    """
    chosen = given or [patterns.spread(steps, round(share * steps)) for share in _SHARES]
    return [
        Setting("schedule", {"pattern": pattern, "forecast": str(order)}, order)
        for pattern in (patterns.checked(pattern.upper(), steps, "--patterns") for pattern in chosen)
        for order in FORECASTS
    ]


def parse(text: str) -> Setting:
    """``teacache thresh=0.12 forecast=1``; an option alone is one that takes no value.

    Options may also be written as on a command line: ``teacache --teacache-thresh 0.12``.

    Raises:
        OptionError: nothing before the options, or an option that the plugin does not allow.
        UnknownPlugin, BrokenPlugin: as for ``attach``.
    """
    name, *words = text.split() or [""]
    if not name or "=" in name:
        raise OptionError(f"--setting is {text!r}; it must be NAME KEY=VALUE ..., such as 'teacache thresh=0.12'.")
    named, others = keywords_among(name, words)
    for key, equals, value in (word.partition("=") for word in others):
        add_keyword(named, key, value if equals else True, f"--setting {text!r}")
    taken = options.from_keywords(load(name), named)
    order = getattr(taken, "forecast", 0)
    return Setting(name, named, order if order in FORECASTS else 0)


def load(name: str) -> Loaded:
    """A plugin that is installed, or one of ours that is only on the path.

    Raises:
        UnknownPlugin, BrokenPlugin: as for ``attach``.
    """
    try:
        return plugins.load(name)
    except UnknownPlugin:
        if name not in BUILT_IN:
            raise
        return Loaded(name, EntryPoint(name, BUILT_IN[name], plugins.GROUP).load())
