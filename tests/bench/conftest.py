"""Fixtures of the bench's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tiny_models
from bench_runs import CASES

from mflux_teacache.bench.plugin_settings import default_grid
from mflux_teacache.bench.runs import JudgedRun


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    with tiny_models.float32():
        yield tiny_models.flux2()


@pytest.fixture(scope="module")
def runs() -> list[JudgedRun]:
    """Two images of each setting of the grid, that skip 0 to 5 of 8 steps."""
    return [
        JudgedRun(
            setting=str(setting),
            case=case,
            pattern="C" * (8 - place % 6) + "S" * (place % 6),
            computed=8 - place % 6,
            squared_error=1.0 + place,
            ssim=0.9,
        )
        for place, setting in enumerate(default_grid())
        for case in CASES
    ]
