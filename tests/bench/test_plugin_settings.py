"""Settings from the command line, the default grid, and equal patterns."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mflux_teacache import discovery, options
from mflux_teacache.bench import plugin_settings as settings
from mflux_teacache.bench.runs import Setting
from mflux_teacache.errors import OptionError, UnknownPlugin

ROOT = Path(__file__).parents[2]


def test_a_setting() -> None:
    parsed = settings.parse("teacache thresh=0.12  skip-first=2 force")
    assert parsed == Setting("teacache", {"thresh": "0.12", "skip_first": "2", "force": True}, reuse="body")
    assert parsed.forecast == 0
    assert settings.parse("teacache forecast=2").forecast == 2
    by_default = Setting("taylorseer", {"interval": "3"}, 2, "output")  # which is a forecast
    assert settings.parse(str(settings.parse("taylorseer interval=3"))) == by_default
    assert settings.parse("teacache --teacache-thresh 0.12 skip-first=2 --teacache-force") == parsed  # as advice has it
    assert settings.parse("shadow") == Setting("shadow")  # knows no forecast
    outputs = settings.parse("easycache reuse=output")
    assert (outputs.forecast, outputs.reuse, outputs.series) == (2, "output", "easycache, output, quadratic")
    assert settings.parse("easycache reuse=output forecast=0").series == "easycache, output"
    assert settings.parse("easycache reuse=body").series == "easycache"
    assert settings.parse("schedule every=2").series == "schedule, output, quadratic"
    assert settings.parse("easycache").series == "easycache"


@pytest.mark.parametrize(
    "text",
    [
        *("", "teacache thresh", "thresh=0.1", "teacache thresh=no", "teacache nothing=1", "schedule every=1"),
        "schedule every=2 --schedule-every=3",
    ],
)
def test_a_setting_that_is_not_allowed(text: str) -> None:
    with pytest.raises(OptionError):
        settings.parse(text)


def test_an_unknown_plugin() -> None:
    with pytest.raises(UnknownPlugin, match="nonesuch"):
        settings.parse("nonesuch thresh=1")


def test_the_grid_holds_every_built_in_strategy_with_allowed_options() -> None:
    grid = settings.default_grid()
    assert {setting.plugin for setting in grid} == set(settings.own_strategies())
    assert len({str(setting) for setting in grid}) == len(grid)
    for setting in grid:
        taken = options.from_keywords(settings.load(setting.plugin), setting.options)
        assert setting.forecast == taken.forecast


def test_the_grid_compares_what_is_reused_and_stays_bearable() -> None:
    grid = settings.default_grid()
    assert len(grid) == 74
    for name, plugin in settings.own_strategies().items():
        mine = [setting for setting in grid if setting.plugin == name]
        otherwise = [setting for setting in mine if setting.reuse not in (None, plugin.about.reuses)]
        [amount] = {option for option in plugin.about.grid if option != "forecast"}
        coarsest = mine[-1].options[amount]
        assert 2 <= len(otherwise) < len(mine)
        assert len({setting.series for setting in otherwise}) == 1
        assert coarsest == str(plugin.about.grid[amount][-1])
        assert {setting.options[amount] for setting in otherwise} < {setting.options[amount] for setting in mine} | {""}


def test_built_ins_are_the_announced_ones() -> None:
    announced = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["mflux.plugins"]
    ours = {
        name: f"{plugin.factory.__module__}:{plugin.factory.__qualname__}"
        for name, plugin in settings.own_strategies().items()
    }
    assert ours.items() <= announced.items()
    computing_or_repeating = {
        "magcache-record",
        "teacache-record",
        "shadow",
        "replay",
        "auto",
    }  # nothing of its own to compare
    assert set(announced) - set(ours) == computing_or_repeating


def test_a_package_that_is_only_on_the_path_has_its_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {name: settings.load(name) for name in settings.own_strategies()}
    monkeypatch.setattr(discovery, "search", lambda: discovery.Found([], []))
    for name, plugin in installed.items():
        assert settings.load(name).factory is plugin.factory


def test_patterns_come_with_every_forecast_of_residuals_and_of_outputs() -> None:
    assert settings.at_patterns(["ccsc"], 4) == [
        Setting("schedule", {"pattern": "CCSC", "reuse": reuse, "forecast": str(order)}, order, reuse)
        for reuse in ("body", "output")
        for order in range(3)
    ]
    evenly = settings.at_patterns([], 12)
    assert [setting.options["pattern"].count("S") for setting in evenly] == [4] * 6 + [6] * 6 + [8] * 6
    with pytest.raises(OptionError, match="--patterns CCSC has 4 letters"):
        settings.at_patterns(["CCSC"], 5)
