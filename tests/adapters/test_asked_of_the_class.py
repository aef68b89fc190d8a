"""``Class.generate_image(model, ...)`` where the pipeline then makes its predictions without asking the model."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import all_cases
import pytest
from strategies import Pattern
from tiny_models import generate, same

from mflux_teacache import PluginWarning, attach
from mflux_teacache.adapters import lifecycle

pytestmark = pytest.mark.usefixtures("tiny")

CASES = all_cases.cases_of()
NAMES = [name for name in ("anima-guidance", "krea2-controlnet") if name in CASES]


@pytest.mark.parametrize("name", NAMES)
def test_the_image_is_the_plain_one_and_a_warning_says_so(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    cls = type(model)
    plain = generate(model, **arguments)
    with attach(model, Pattern) as handle:
        model.generate_image = lambda **given: cls.generate_image(model, **given)
        with pytest.warns(PluginWarning, match="no plugin takes part in the image. Call model.generate_image"):
            assert same(generate(model, **arguments), plain)
        del model.generate_image
        assert handle.stats.history == []
        assert not same(generate(model, **arguments), plain)
        assert [image.status for image in handle.stats.history] == ["finished"]


@pytest.mark.parametrize("name", NAMES)
def test_the_method_s_own_globals_are_not_the_user_s(name: str, photo: Path) -> None:
    """What these pipelines do by their class is done by the object, in a copy of mflux's own function alone."""
    model, _ = CASES[name].make(photo)
    before = inspect.unwrap(type(model).generate_image).__globals__
    names = dict(before)
    with attach(model, Pattern):
        assert before == names


@pytest.mark.parametrize("name", NAMES)
def test_who_is_asked_is_looked_up_once_per_attachment(name: str, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, arguments = CASES[name].make(photo)
    looked_up: list[str] = []
    found = lifecycle._named_classes

    def counted(function: Any, *rest: Any) -> list[str]:
        looked_up.append(function.__qualname__)
        return found(function, *rest)

    monkeypatch.setattr(lifecycle, "_named_classes", counted)
    with attach(model, Pattern) as handle:
        at_the_attachment = list(looked_up)
        for _ in range(2):
            generate(model, **arguments)
        assert handle.stats.generations == 2
    assert looked_up == at_the_attachment
    assert len(set(looked_up)) == len(looked_up) > 0
