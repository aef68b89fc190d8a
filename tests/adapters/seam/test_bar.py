"""mflux's progress bar shows what was skipped."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dreams import Brings, Dreams
from strategies import Pattern, ReadsEverything
from tiny_models import flux1, generate

from mflux_teacache import attach


@pytest.mark.sample
def test_on_a_model_of_mflux_s(tiny: None) -> None:
    bars: list[Any] = []
    model = flux1()
    listener = SimpleNamespace(call_after_loop=lambda *, config, **_: bars.append(config.time_steps.postfix))
    model.callbacks.after_loop.append(listener)
    for plugin in (Pattern, ReadsEverything):
        with attach(model, plugin):
            generate(model)
    generate(model)
    assert bars == ["skipped 2", None, None]


def test_a_loop_that_has_another_bar_or_hands_over_its_own() -> None:
    class Skips(Brings, Pattern): ...

    shown: list[str] = []
    bar = SimpleNamespace(set_postfix_str=lambda text, refresh: shown.append(text))
    model = Dreams()
    with attach(model, Skips) as handle:
        generate(model)  # a plain range
        assert handle.stats.skipped_count == 2
        model.bar = bar
        generate(model)
    assert shown == ["skipped 1", "skipped 1", "skipped 2", "skipped 2"]
