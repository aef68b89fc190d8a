"""Fixtures of the tests of ``auto``."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from auto_dreams import MODEL
from dreams import Dreams

from mflux_teacache.presets import store


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))
    return tmp_path / "presets"


@pytest.fixture
def dreams() -> Dreams:
    model = Dreams()
    model.model_config = SimpleNamespace(model_name=MODEL, base_model=None, aliases=[])
    return model
