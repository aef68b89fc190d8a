"""A model to attach to, and the proof that it came through unharmed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tiny_models
from tiny_models import generate, same


@pytest.fixture
def model(tiny: None) -> Any:
    return tiny_models.flux2()


@pytest.fixture
def unchanged(model: Any) -> Iterator[None]:
    """After the test the model gives the very latents that it gave before, and carries nothing of ours."""
    before = generate(model, guidance=4.0)
    attributes = set(vars(model))
    listeners = [list(callbacks) for callbacks in vars(model.callbacks).values()]
    yield
    assert same(generate(model, guidance=4.0), before)
    assert set(vars(model)) == attributes
    assert [list(callbacks) for callbacks in vars(model.callbacks).values()] == listeners
