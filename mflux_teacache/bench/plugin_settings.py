"""Plugins with their options, as ``bench quality`` and ``bench memory`` take them: from words, or the default grid."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import NamedTuple

from mflux_teacache import options, plugins
from mflux_teacache.bench import patterns
from mflux_teacache.bench.runs import FORECASTS, Setting
from mflux_teacache.errors import OptionError, UnknownPlugin
from mflux_teacache.plugins import Loaded
from mflux_teacache.words import add_keyword, keywords_among


class _Strategy(NamedTuple):
    """A built-in strategy in the grid: what says how much it skips, from careful to coarse, with which forecasts."""

    entry_point: str  # as in pyproject.toml: a package that is only on the path announces none
    option: str
    values: str
    forecasts: tuple[int, ...] = (0, 1)


BUILT_IN = {
    "teacache": _Strategy("mflux_teacache.teacache.plugin:TeaCache", "thresh", "0.05 0.08 0.12 0.2 0.3", (0, 1, 2)),
    "first-block-cache": _Strategy(
        "mflux_teacache.strategies.first_block_cache:FirstBlockCache", "thresh", "0.04 0.08 0.15 0.3"
    ),
    "easycache": _Strategy("mflux_teacache.strategies.easycache.plugin:EasyCache", "thresh", "0.02 0.05 0.1 0.2"),
    "magcache": _Strategy("mflux_teacache.strategies.magcache.plugin:MagCache", "thresh", "0.03 0.06 0.12 0.24"),
    # TaylorSeer is its forecast.
    "taylorseer": _Strategy("mflux_teacache.strategies.taylorseer:TaylorSeer", "interval", "2 3 4 5", (1,)),
    "schedule": _Strategy("mflux_teacache.strategies.schedule:Schedule", "ratio", "0.3 0.5 0.6 0.7"),
}

_SHARES = (1 / 3, 1 / 2, 2 / 3)  # of the steps that are skipped, where no pattern is given


def default_grid() -> list[Setting]:
    """Every built-in strategy from careful to coarse."""
    return [
        Setting(name, {strategy.option: value, "forecast": str(order)}, order)
        for name, strategy in BUILT_IN.items()
        for order in strategy.forecasts
        for value in strategy.values.split()
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
    order = getattr(options.from_keywords(load(name), named), "forecast", 0)
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
        return Loaded(name, EntryPoint(name, BUILT_IN[name].entry_point, plugins.GROUP).load())
