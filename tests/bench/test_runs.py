"""Settings, and runs that were made whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mflux_teacache.bench.runs import Setting, whole


def test_another_error_keeps_nothing() -> None:
    def made() -> Iterator[Any]:
        yield from ([1, 2], [3, 4])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        whole(made())


SETTING = Setting("teacache", {"thresh": "0.2"})


def test_series() -> None:
    assert SETTING.series == "teacache"
    assert Setting("teacache", {"thresh": "0.3", "forecast": "0"}).series == "teacache"
    assert Setting("teacache", {"thresh": "0.3", "forecast": "2"}, 2).series == "teacache, quadratic"
