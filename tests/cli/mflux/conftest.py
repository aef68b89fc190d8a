"""Sidecars that tests write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def sidecar(tmp_path: Path) -> Callable[..., Path]:
    """Writes one that names plugins with their options."""

    def write(**plugins: dict[str, object]) -> Path:
        path = tmp_path / "run.json"
        entries = {name: {"options": values} for name, values in plugins.items()}
        path.write_text(json.dumps({"mflux_plugins": {"schema": 1, "plugins": entries}}))
        return path

    return write
