"""Several processes, played by one. Two real ones are in test_tuning.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mflux_teacache.errors import PluginError
from mflux_teacache.tune.ranks import Ranks


def test_alone_all_work_is_its_own() -> None:
    ranks = Ranks()
    assert ranks.speaks
    assert ranks.share("abc") == ["a", "b", "c"]
    assert ranks.gathered({"a": (1, "é")}) == [{"a": [1, "é"]}]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Ranks:
    """The second of two, where the first has said the longer thing."""
    ranks = Ranks()
    ranks.rank, ranks.size = 1, 2
    other = b'"something long"'

    def gather(array: Any) -> Any:
        first = np.array([len(other)], np.uint32) if array.dtype == np.uint32 else np.frombuffer(other, np.uint8)
        return np.concatenate([first, array])

    monkeypatch.setattr(ranks, "_all", gather)
    return ranks


def test_work_is_shared_out_and_what_was_said_comes_back_in_order(two: Ranks) -> None:
    assert not two.speaks
    assert two.share([0, 1, 2, 3, 4]) == [1, 3]
    assert two.gathered("short") == ["something long", "short"]


@pytest.mark.parametrize("garbage", [b"\xbd" * 16, b"{" * 16])
def test_a_process_that_has_ended_is_said(two: Ranks, monkeypatch: pytest.MonkeyPatch, garbage: bytes) -> None:
    gather = two._all
    broken = np.frombuffer(garbage, np.uint8)
    monkeypatch.setattr(two, "_all", lambda a: gather(a) if a.dtype == np.uint32 else np.concatenate([broken, a]))
    with pytest.raises(PluginError, match=r"another process has ended, .* The finished images are kept"):
        two.gathered("short")
