"""Fixtures of the tests of tuning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from mflux_teacache.demo import model as demo
from mflux_teacache.presets import store


@pytest.fixture(scope="module")
def tiny_demo() -> Iterator[Any]:
    """A tiny model with random weights, under the name of the demo's."""
    with tiny_models.float32():
        yield tiny_models.flux2(config=demo.model_config(), blocks=(1, 1))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory, which is empty."""
    folder = tmp_path / "data"
    monkeypatch.setenv(store.VARIABLE, str(folder))
    return folder


@pytest.fixture
def tunes_tiny(tiny_demo: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``--demo`` is the tiny model; the fixture is the data directory."""
    monkeypatch.setattr(demo, "tiny_klein", lambda: contextlib.nullcontext(tiny_demo))
    return data
