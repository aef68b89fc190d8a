"""The strategies that a message may offer for any model are the ones that refuse none for want of a calibration."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from types import SimpleNamespace

import pytest

from mflux_teacache import Refused, Target, alternatives, hookimpl, plugins
from mflux_teacache.alternatives import calibration_free
from mflux_teacache.options import from_keywords

UNCALIBRATED = Target(pipeline="Nothing", model="nobody/has-measured-this")


OPTIONS = {"schedule": {"every": 2}}  # it refuses to guess
NO_STRATEGIES = {"magcache-record", "replay", "shadow", "teacache-record"}


def ours() -> list[str]:
    return [plugin.name for plugin in plugins.installed() if plugin.package == "mflux-teacache-plugin"]


def test_the_group_and_the_package_are_the_installed_ones() -> None:
    assert alternatives._GROUP == plugins.GROUP
    assert "teacache" in ours()
    assert "first-block-cache" in calibration_free()
    assert NO_STRATEGIES.isdisjoint(calibration_free())


@pytest.mark.parametrize("name", sorted({*ours()} - NO_STRATEGIES))
def test_what_is_offered_takes_any_model_and_nothing_else_does(name: str) -> None:
    loaded = plugins.load(name)
    options = from_keywords(loaded, OPTIONS.get(name, {}))
    plugin = plugins.PluginSet([loaded])
    if name in calibration_free():
        plugin.check(name, "mflux_check", options=options, target=UNCALIBRATED)
        assert plugin.decider == name
    else:
        with pytest.raises(Refused, match="nobody/has-measured-this"):
            plugin.check(name, "mflux_check", options=options, target=UNCALIBRATED)


class Stranger:
    @hookimpl
    def mflux_check(self) -> None: ...


def test_a_stranger_s_plugin_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = SimpleNamespace(name="stranger", dist=SimpleNamespace(name="strange-package"), load=lambda: Stranger)
    nobodys = EntryPoint("nobodys", f"{__name__}:Stranger", plugins.GROUP)
    everything = [*entry_points(group=plugins.GROUP), theirs, nobodys]
    before = calibration_free()
    monkeypatch.setattr(alternatives, "entry_points", lambda *, group: everything)
    assert calibration_free() == before
