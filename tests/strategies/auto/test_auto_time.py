"""A time that ``auto`` is to keep, by a clock of the test's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import dreams as dreaming
import mlx.core as mx
import pytest
from auto_dreams import DEV, Auto, check, made
from dreams import FAMILY, Dreams, Layer

from mflux_teacache import TokenGrid
from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.patterns import even, letters
from mflux_teacache.strategies.auto import plugin as auto

pytestmark = pytest.mark.usefixtures("data")


@dataclass
class Clock:
    """Advances with what the model does: so much for each computed step, and for whatever is done in any step."""

    step: float = 1.0
    always: float = 0.1
    first: float = 5.0
    now: float = 0.0

    def call_in_loop(self, *, t: int, **_: Any) -> None:
        self.now += self.always + (self.first if t == 0 else 0.0)


@pytest.fixture
def clock(dreams: Dreams, monkeypatch: pytest.MonkeyPatch) -> Clock:
    ticking = Clock()
    monkeypatch.setattr(auto, "perf_counter", lambda: ticking.now)

    class Slow(Layer):
        def __call__(self, x: mx.array, scale: mx.array) -> mx.array:
            ticking.now += ticking.step / len(dreams.transformer.layers)
            return super().__call__(x, scale)

    for layer in dreams.transformer.layers:  # which do not run where the transformer's output is reused
        layer.__class__ = Slow
    dreams.callbacks.in_loop.append(ticking)
    return ticking


@pytest.mark.parametrize("grid", [None, TokenGrid(pixels=8)])
@pytest.mark.parametrize("seconds", [14.0, 20.0, 27.0])
def test_the_time_is_kept(
    dreams: Dreams, clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: float, grid: TokenGrid | None
) -> None:
    monkeypatch.setattr(dreaming, "FAMILY", replace(FAMILY, token_grid=grid))
    images, values = made(dreams, steps=28, images=2, side=256, seconds=seconds)
    # 28 steps take 2.8 in any case, and the first one 5 more.
    for image in images:
        assert image.pattern.count("C") == pytest.approx(seconds - 7.8, abs=0.51)
    assert {each["strategy"] for each in values} == {"sea" if grid else "schedule"}


def test_a_second_image_knows_what_steps_take(dreams: Dreams, clock: Clock) -> None:
    clock.first = 0.0
    images, _ = made(dreams, steps=28, images=2, seconds=5.8)
    first, second = (image.pattern for image in images)
    assert first[:2] == "CC"
    assert second == letters(even(28, 3), 28)


def test_a_time_that_is_too_short_or_longer_than_the_full_run(dreams: Dreams, clock: Clock) -> None:
    [image], _ = made(dreams, seconds=0.5)
    assert image.pattern == "CCSSSSSSSSSC"
    [image], _ = made(dreams, seconds=1000)
    assert image.pattern.count("C") >= 11


def test_a_machine_that_gets_slower(dreams: Dreams, clock: Clock) -> None:
    clock.first = 0.0

    def slower(*, t: int, **_: Any) -> None:
        clock.step = 2.0 if t >= 8 else 1.0

    dreams.callbacks.in_loop.append(SimpleNamespace(call_in_loop=slower))
    made(dreams, steps=28, seconds=16.8)
    assert clock.now == pytest.approx(16.8, abs=1.1)


def test_images_of_another_size_take_another_time(dreams: Dreams, clock: Clock) -> None:
    plugin = Auto()
    plugin._generation = SimpleNamespace(width=64, height=64, guidance=1.0)  # type: ignore[assignment]
    plugin._pace.note(1.0, 1.0, first=False)
    plugin._generation = SimpleNamespace(width=64, height=128, guidance=1.0)  # type: ignore[assignment]
    assert plugin._pace.affords(10, 5) is None


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_seconds_that_are_none(seconds: str) -> None:
    with pytest.raises(OptionError, match="is not a finite number above 0, such as 20"):
        check(DEV, seconds=seconds)
