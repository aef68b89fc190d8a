"""Every supported pipeline, with the transformer's outputs reused: the image is the one that is made by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import all_cases
import pytest
from mflux.utils.apple_silicon import AppleSiliconUtil
from strategies import OutputPattern, ProbedOutputPattern
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import PIPELINES

CASES = all_cases.cases_of(*all_cases.MODULES)

# Step and place of calls that compute in a skipped step: the first of them brings a prompt that no step before had.
NEW = {"fibo2-text-images": {(1, 0)}}

BY_NAME = {family.name: family for family in FAMILIES}

EAGER_TOO = pytest.mark.parametrize(
    ("name", "eager"),
    [(name, False) for name in CASES] + [(name, True) for name in CASES if CASES[name].compiled],
    indirect=["eager"],
)


@pytest.fixture
def eager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a small M1 or M2, where mflux compiles nothing."""
    if request.param:
        monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)


class ByHand:
    """mflux's loop, in which the transformer returns in skipped steps what it returned in the last computed one."""

    def __init__(self, model: Any, pattern: str, computed: Collection[tuple[int, int]] = ()) -> None:
        family = BY_NAME[PIPELINES[type(model).__name__].family]
        names = (family.caller,) if family.caller and hasattr(model, family.caller) else family.attributes
        self.objects = [getattr(model, name) for name in names]
        self.pattern = pattern
        self.computed = computed
        self.step = self.call = 0
        self.returned: dict[int, Any] = {}
        self.model = model

    def call_in_loop(self, **_: Any) -> None:
        self.step, self.call = self.step + 1, 0

    def calling(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def __call__(module: Any, *args: Any, **kwargs: Any) -> Any:
            place, self.call = self.call, self.call + 1
            if self.pattern[self.step] == "C" or place not in self.returned or (self.step, place) in self.computed:
                self.returned[place] = forward(module, *args, **kwargs)
            return self.returned[place][...]

        return __call__

    def generate(self, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            for cls in {type(each) for each in self.objects}:
                patch.setattr(cls, "__call__", self.calling(cls.__call__))
            patch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)
            self.model.callbacks.in_loop.append(self)
            try:
                return generate(self.model, **arguments)
            finally:
                self.model.callbacks.in_loop.remove(self)


@pytest.mark.usefixtures("tiny")
@EAGER_TOO
def test_the_image_is_the_one_made_by_hand(
    name: str, eager: None, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, arguments = CASES[name].make(photo)
    plain = generate(model, **arguments)
    expected = ByHand(model, OutputPattern.pattern, NEW.get(name, ())).generate(monkeypatch, **arguments)
    with attach(model, OutputPattern) as handle:
        skipped = generate(model, **arguments)
        again = generate(model, **arguments)
    with attach(model, ProbedOutputPattern):
        probed = generate(model, **arguments)
    pattern = handle.stats.history[0].pattern
    assert pattern == ("CPCSC" if name in NEW else OutputPattern.pattern[: len(pattern)])
    assert not same(skipped, plain)
    assert same(again, skipped)
    assert same(probed, skipped)
    assert same(skipped, expected)
    assert same(generate(model, **arguments), plain)
