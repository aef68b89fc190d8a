"""Noise levels that an image's schedule has, known before its first step: those that its steps then have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import all_cases
import mlx.core as mx
import pytest
from tiny_models import generate

from mflux_teacache import attach, hookimpl
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import PIPELINES, generation_of

CASES = all_cases.cases_of(*all_cases.MODULES)


class Sees:
    """Observes; instances are made by ``attach``."""

    told: tuple[float, ...] | None = None
    scheduler: str | None = None

    @hookimpl
    def mflux_generation_start(self, generation) -> None:
        Sees.told, Sees.scheduler = generation.sigmas, generation.scheduler


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", CASES)
def test_they_are_those_of_the_steps(name: str, photo: Path) -> None:
    model, arguments = CASES[name].make(photo)
    with attach(model, Sees) as handle:
        generate(model, **{**arguments, "num_inference_steps": 4})
    steps = [record.sigma for record in handle.stats.history[0].decisions]
    if PIPELINES[CASES[name].pipeline.__name__].own_sigmas:
        assert (Sees.told, Sees.scheduler) == (None, None)
        return
    assert Sees.told is not None
    assert str(Sees.scheduler).endswith("Scheduler")
    # Some models are handed theirs in bfloat16.
    assert list(Sees.told) == pytest.approx(steps, abs=0.004)


@pytest.mark.parametrize("sigmas", [None, mx.array([1.0, 0.5])])
def test_a_scheduler_of_somebody_s_own_may_have_none(sigmas: mx.array | None) -> None:
    scheduler = SimpleNamespace() if sigmas is None else SimpleNamespace(sigmas=sigmas)
    config = SimpleNamespace(
        num_inference_steps=4, init_time_step=1, width=16, height=16, guidance=1.0, scheduler=scheduler
    )
    family = next(family for family in FAMILIES if family.name == "flux")
    image = generation_of(PIPELINES["Flux1"], family, mx.zeros((1, 4, 64)), config=config, seed=1, prompt="")
    assert (image.active_steps, image.sigmas) == (3, None)
