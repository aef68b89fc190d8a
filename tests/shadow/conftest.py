from __future__ import annotations

import pytest

from mflux_teacache.plugins import Installed, Loaded, load
from mflux_teacache.shadow import plan


@pytest.fixture
def installed(monkeypatch):
    """Makes these classes the installed plugins, under their names in lower case."""

    def install(*plugins: type) -> None:
        loaded = {cls.__name__.lower(): Loaded(cls.__name__.lower(), cls, "tests", "1") for cls in plugins}
        entries = [Installed(name, "tests", "1", None) for name in loaded]
        monkeypatch.setattr(plan, "installed", lambda: entries)
        monkeypatch.setattr(plan, "load", lambda name: loaded.get(name) or load(name))

    return install
