"""Settings from the command line, the default grid, and equal patterns."""

import tomllib
from pathlib import Path

import pytest

from mflux_teacache import discovery, options
from mflux_teacache.bench import plugin_settings as settings
from mflux_teacache.bench import quality
from mflux_teacache.bench.quality import settings_of
from mflux_teacache.bench.runs import Setting
from mflux_teacache.cli.own.main import build_parser
from mflux_teacache.demo.prompts import FITTED
from mflux_teacache.errors import OptionError, UnknownPlugin

ROOT = Path(__file__).parents[2]


def from_words(*words: str):
    return settings_of(build_parser().parse_args(["bench", "quality", *words]))


def test_a_setting() -> None:
    parsed = settings.parse("teacache thresh=0.12  skip-first=2 force")
    assert parsed == Setting("teacache", {"thresh": "0.12", "skip_first": "2", "force": True})
    assert parsed.forecast == 0
    assert settings.parse("teacache forecast=2").forecast == 2
    by_default = Setting("taylorseer", {"interval": "3"}, 1)  # which is a forecast
    assert settings.parse(str(settings.parse("taylorseer interval=3"))) == by_default
    assert settings.parse("teacache --teacache-thresh 0.12 skip-first=2 --teacache-force") == parsed  # as advice has it
    assert settings.parse("shadow") == Setting("shadow")  # knows no forecast


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
    assert {setting.plugin for setting in grid} == set(settings.BUILT_IN)
    assert len({str(setting) for setting in grid}) == len(grid)
    for setting in grid:
        taken = options.from_keywords(settings.load(setting.plugin), setting.options)
        assert setting.forecast == taken.forecast


def test_built_ins_are_the_announced_ones() -> None:
    announced = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["mflux.plugins"]
    assert {name: strategy.entry_point for name, strategy in settings.BUILT_IN.items()}.items() <= announced.items()
    computing_or_repeating = {"magcache-record", "teacache-record", "shadow", "replay"}  # nothing to compare
    assert set(announced) - set(settings.BUILT_IN) == computing_or_repeating


def test_a_package_that_is_only_on_the_path_has_its_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {name: settings.load(name) for name in settings.BUILT_IN}
    monkeypatch.setattr(discovery, "search", lambda: discovery.Found([], []))
    for name, plugin in installed.items():
        assert settings.load(name).factory is plugin.factory


def test_patterns_come_with_every_forecast() -> None:
    assert settings.at_patterns(["ccsc"], 4) == [
        Setting("schedule", {"pattern": "CCSC", "forecast": str(order)}, order) for order in range(3)
    ]
    evenly = settings.at_patterns([], 12)
    assert [setting.options["pattern"].count("S") for setting in evenly] == [4, 4, 4, 6, 6, 6, 8, 8, 8]
    with pytest.raises(OptionError, match="--patterns CCSC has 4 letters"):
        settings.at_patterns(["CCSC"], 5)


def test_what_is_compared() -> None:
    assert from_words().settings == tuple(settings.default_grid())
    named = from_words("--setting", "easycache", "--setting", "easycache", "--patterns", "CS", "--steps", "2")
    assert [str(setting) for setting in named.settings] == [
        "easycache",
        *(f"schedule pattern=CS forecast={order}" for order in range(3)),
    ]


def test_cases_are_prompts_by_seeds() -> None:
    chosen = from_words("--prompts", "3", "--seeds", "2", "--first-seed", "5")
    assert [case.seed for case in chosen.cases] == [5, 5, 5, 6, 6, 6]
    assert len(set(chosen.cases)) == 6
    assert set(chosen.prompts).isdisjoint(FITTED)


def test_prompts_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a red ring on blue\n\n  a green cross\na red ring on blue\n")
    assert from_words("--prompts", str(file)).prompts == ("a red ring on blue", "a green cross")
    file.write_text("a photo of a cat\n")
    with pytest.raises(OptionError, match="does not know"):
        from_words("--prompts", str(file))
    assert from_words("--model", "dev", "--prompts", str(file)).prompts == ("a photo of a cat",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0"], "--seeds is 0"),
        (["--prompts", "0"], "--prompts is 0"),
        (["--prompts", "none.txt"], "cannot be read"),
        (["--prompts", "empty.txt"], "has no prompt"),
        (["--model", "dev"], "prompts of its own"),
        (["--model", "dev", "--prompts", "3"], "prompts of its own"),
        (["--size", "64"], "--size is 64"),
        (["--steps", "1"], "--steps is 1"),
        (["--json", "figures.txt"], "must end in .json"),
        (["--sheet", "no-folder/sheet.png"], "no folder"),
        (["--png", "picture.jpg"], "must end in .png"),
    ],
)
def test_refused(words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()
    with pytest.raises(OptionError, match=message):
        quality.run(build_parser().parse_args(["bench", "quality", *words]))
