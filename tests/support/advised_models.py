"""What is done to real pipelines of mflux with tiny weights, for advice on models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tiny_models
from advised import Case

from mflux_teacache import attach

IMAGE = {"seed": 1, "prompt": "x", "num_inference_steps": 10, "height": 32, "width": 32, "guidance": 1.0}

Act = Callable[[], None]
Model = Any


def tiny(cases: Mapping[str, Case]) -> dict[str, Case]:
    """The same cases, with whatever tiny models need while they are tried."""
    return {name: Case(_tiny(case.wrong), case.said, list(map(_tiny, case.right))) for name, case in cases.items()}


def _tiny(act: Act) -> Act:
    def acting() -> None:
        with tiny_models.float32(), tiny_models.narrow(), tiny_models.small():
            act()

    return acting


def on(act: Callable[[Model], Any], make: Callable[[], Model] = tiny_models.flux2) -> Act:
    """An act on a model of its own."""
    return lambda: act(make())


def draws(model: Model, *plugins: Any, **options: Any) -> Any:
    """An image in which plugins take part; returns the handle."""
    with attach(model, *plugins, **options) as handle:
        model.generate_image(**IMAGE)
    assert handle.stats.generations == 1
    return handle


def drawing(*plugins: Any, **options: Any) -> Act:
    """The same on a model of its own."""
    return on(lambda model: draws(model, *plugins, **options))
