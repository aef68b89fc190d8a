"""``--<strategy>-cache-dtype`` in every strategy, on mflux's own loop: what is reused is what was computed, rounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import pytest
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from recording import Watch
from skipping import OPTIONS, STEPS
from strategies import kept
from tiny_models import generate, same

from mflux_teacache.attachment import Request, attach_requests
from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import Loaded, load
from mflux_teacache.step import BodyBranch

ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11}

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.filterwarnings("ignore::mflux_teacache.PluginWarning")]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_models.flux2()


def run(model: Any, strategy: str, **options: Any) -> tuple[mx.array, Watch]:
    """The final latents of a run that holds residuals, and what an observer saw of it."""
    plugin = load(strategy)
    watch, made = kept(Watch)
    requests = [
        Request(plugin, from_keywords(plugin, {**OPTIONS[strategy], "reuse": "body", "forecast": 0, **options})),
        Request(Loaded("watch", watch), from_keywords(Loaded("watch", watch), {})),
    ]
    with attach_requests(model, requests):
        latents = generate(model, num_inference_steps=STEPS, guidance=4.0)
    [seen] = made
    return latents, seen


def reused(watch: Watch) -> Iterator[tuple[BodyBranch, mx.array]]:
    """Each branch of each skipped step, with the residual that its last computed step left."""
    computed: tuple[mx.array, ...] = ()
    for body in watch.bodies:
        if body.computed:
            computed = body.residuals
        else:
            yield from zip(body.branches, computed, strict=True)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("strategy", OPTIONS)
def test_what_is_reused_is_rounded_and_no_more(strategy: str, dtype: str, model: Any) -> None:
    latents, watch = run(model, strategy, cache_dtype=dtype)
    branches = list(reused(watch))
    assert branches
    for branch, residual in branches:
        assert branch.residual.dtype == residual.dtype == mx.float32
        assert not same(branch.residual, residual)
        error = mx.abs(branch.residual - residual)
        assert (error <= mx.abs(residual) * ROUNDING[dtype] * 1.001 + mx.abs(residual).max() * 2**-29).all()
    whole, _ = run(model, strategy)
    assert not same(latents, whole)


@pytest.mark.parametrize("dtype", ROUNDING)
def test_where_the_stream_is_no_wider_nothing_changes(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelConfig, "precision", mx.bfloat16)
    narrow = tiny_models.flux2()
    narrow.transformer.set_dtype(mx.bfloat16)
    encode = narrow._encode_prompt_pair
    narrow._encode_prompt_pair = lambda **asked: tuple(
        array if array is None else array.astype(mx.bfloat16) for array in encode(**asked)
    )
    latents, watch = run(narrow, "schedule", cache_dtype=dtype)
    assert {branch.residual.dtype for branch, _ in reused(watch)} == {mx.bfloat16}
    assert same(latents, run(narrow, "schedule")[0])
