"""What plugins say of themselves: taken from the record alone, refused where it is none, and true of our own."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import DEV, Plugin, generation

from mflux_teacache import About, hookimpl
from mflux_teacache.discovery import built_in
from mflux_teacache.errors import BrokenPlugin
from mflux_teacache.options import Declared
from mflux_teacache.pieces.recorder import Recording
from mflux_teacache.plugins import Loaded, PluginSet, about_of, load

STRATEGIES = [name for name in built_in() if load(name).about.kind == "strategy"]
OPTIONS: dict[str, dict[str, Any]] = {"schedule": {"every": 2}}


class Plain:
    @hookimpl
    def mflux_pre_transformer(self) -> None: ...


def test_a_class_without_the_record_is_a_plain_plugin() -> None:
    assert about_of("p", Plain) == about_of("p", Plain()) == Loaded("p", Plain).about == About()
    assert PluginSet([Loaded("p", Plain)]).about == About()


@pytest.mark.parametrize("value", ["a strategy", 1, {"kind": "strategy"}])
def test_a_record_that_is_none(value: Any) -> None:
    plugin = Loaded("p", type("P", (Plain,), {"about": value}))
    for read in (lambda: plugin.about, lambda: PluginSet([plugin])):
        with pytest.raises(BrokenPlugin, match="plugin 'p' does not say what it is: its about is .*About"):
            read()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "observer"}, "About.kind is 'observer'; it must be one of strategy, recorder, tool, or None"),
        ({"keeps_images_apart": "yes"}, "About.keeps_images_apart is 'yes'; it must be True or False"),
        ({"needs_calibration": None}, "About.needs_calibration is None"),
        ({"windows": "skip_first"}, "About.windows is 'skip_first'; it must be a tuple of names"),
        ({"grid": {"thresh": 0.1}}, "About.grid is {'thresh': 0.1}; it must give options a tuple of values each"),
    ],
)
def test_a_value_of_another_kind(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        About(**fields)


def test_the_kinds_of_our_own() -> None:
    kinds = {name: load(name).about.kind for name in built_in()}
    assert {name for name, kind in kinds.items() if kind == "recorder"} == {"magcache-record", "teacache-record"}
    assert {name for name, kind in kinds.items() if kind == "tool"} == {"auto", "replay", "shadow"}
    assert {name for name in built_in() if load(name).about.keeps_images_apart} == {
        name
        for name in built_in()
        if issubclass(load(name).factory, Recording)  # type: ignore[arg-type]
    }
    assert all(load(name).about.description.endswith(".") for name in built_in())


@pytest.mark.parametrize("name", built_in())
def test_the_options_that_a_record_names_are_there(name: str) -> None:
    plugin, about = load(name), load(name).about
    declared = Declared(plugin).by_keyword
    named = {about.threshold, about.cap, about.source, *about.budgets, *about.windows, *about.grid} - {None}
    assert named <= set(declared)
    if about.threshold is not None:
        assert declared[about.threshold].default == about.default_threshold


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_replay_is_given_what_the_record_promises(name: str) -> None:
    plugin = Plugin(name, load(name).factory, DEV, **OPTIONS.get(name, {}))  # type: ignore[arg-type]
    recorded = plugin.call("mflux_image_metadata", generation=generation(28))
    promised = load(name).about.replay_values
    assert promised
    assert set(promised) <= set(recorded)
