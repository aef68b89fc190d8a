"""The strategies that a message may offer for any model are the ones that refuse none for want of a calibration."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from mflux_teacache import About, Refused, Target, hookimpl, plugins
from mflux_teacache.discovery import GROUP, Installed, installed
from mflux_teacache.options import from_keywords
from mflux_teacache.pieces import data_files
from mflux_teacache.pieces.data_files import calibration_free

UNCALIBRATED = Target(pipeline="Nothing", model="nobody/has-measured-this")


OPTIONS = {"schedule": {"every": 2}}  # it refuses to guess
NO_STRATEGIES = {"auto", "magcache-record", "replay", "shadow", "teacache-record"}


def ours() -> list[str]:
    return [plugin.name for plugin in plugins.installed() if plugin.package == "mflux-teacache-plugin"]


def test_the_package_is_the_installed_one() -> None:
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
    about = About(kind="strategy")

    @hookimpl
    def mflux_check(self) -> None: ...


def test_a_stranger_s_plugin_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("stranger", f"{__name__}:Stranger", GROUP)
    theirs = Installed("stranger", "strange-package", "1.0", point)
    everything = [*installed(), theirs]
    before = calibration_free()
    monkeypatch.setattr(data_files, "installed", lambda: everything)
    assert calibration_free() == before
