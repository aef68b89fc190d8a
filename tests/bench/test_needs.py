"""What a measurement needs beside the package."""

from __future__ import annotations

import pytest

from mflux_teacache.bench import needs
from mflux_teacache.errors import Refused


def test_a_missing_package_is_named() -> None:
    needs.require("json")
    with pytest.raises(
        Refused, match=r"needs no_such_module, which is missing. Install it with `.*mflux-teacache-plugin\[bench\]"
    ):
        needs.require("json", "no_such_module")


def test_the_laboratory_is_in_a_checkout_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert needs.laboratory("peers", "--compare").DISTRIBUTION == "mlx-teacache"
    monkeypatch.setattr(needs, "LABORATORY", "mflux_teacache.bench.not_in_the_wheel")
    with pytest.raises(Refused, match="--compare is for a checkout of this package's repository"):
        needs.laboratory("peers", "--compare")
