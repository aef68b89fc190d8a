"""FLUX.2 edit with its key/value cache: a first step over target and references, later ones over the target alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import tiny_models
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.flux2.variants.edit.flux2_klein_edit import Flux2KleinEdit
from mflux.utils.apple_silicon import AppleSiliconUtil
from recording import Loop, Watch, seen_by
from strategies import Pattern, ReadsEverything, kept
from tiny_models import generate, same

from mflux_teacache import Decision, Refused, Step, attach, hookimpl

pytestmark = pytest.mark.usefixtures("tiny")

TARGET, REFERENCES = 16, 32  # rows: 64x64 pixels, and two photos of that size
GUIDANCE = 4.0


@pytest.fixture
def model() -> Any:
    model = tiny_models.flux2(Flux2KleinEdit, ModelConfig.flux2_klein_9b_kv())
    tiny_models.randomised(model.transformer, seed=3, scale=0.2)  # so that references make a difference
    return model


@pytest.fixture
def arguments(photo: Path) -> dict[str, Any]:
    return {"image_paths": [photo, photo], "guidance": GUIDANCE}


def caches_of(model: Any) -> list[Any]:
    """The caches of every later image, one per guidance branch."""
    made: list[Any] = []
    new = type(model)._new_kv_cache

    def keep() -> Any:
        made.append(new(model))
        return made[-1]

    model._new_kv_cache = keep
    return made


def arrays(caches: list[Any]) -> list[mx.array]:
    return [array for cache in caches for slot in (*cache._double, *cache._single) for array in slot]


def stepped(loop: Loop, index: int, positive: mx.array, negative: mx.array) -> mx.array:
    """The latents after a step of mflux's with guidance."""
    scheduler = loop.config.scheduler
    noise = negative + GUIDANCE * (positive - negative)
    return scheduler.step(noise=noise, timestep=index, latents=loop.latents[index], sigmas=scheduler.sigmas)


def near(a: mx.array, b: mx.array) -> bool:
    """Within rounding."""
    return bool(mx.allclose(a, b, atol=1e-4))


def test_a_skipped_step_adds_the_target_s_residual_and_the_next_one_sees_the_references(model, arguments):
    transformer, caches, loop = model.transformer, caches_of(model), Loop()
    outputs = seen_by(transformer.norm_out)  # which gets the body's output, without the references already
    generate(model, **arguments)
    extracted = [call["x"] for call in outputs[:2]]

    model.callbacks.register(loop)
    calls = seen_by(transformer)
    with attach(model, Pattern) as handle:
        generate(model, **arguments)
    assert handle.stats.history[0].pattern == "CSCSC"
    residuals = [output - transformer.x_embedder(loop.latents[0]) for output in extracted]
    embedding = transformer.time_guidance_embed(mx.full((1,), loop.config.scheduler.timesteps[1]), None)
    stream = transformer.x_embedder(loop.latents[1])
    by_hand = [transformer.proj_out(transformer.norm_out(stream + residual, embedding)) for residual in residuals]
    assert near(loop.latents[2], stepped(loop, 1, *by_hand))
    without = [transformer.proj_out(transformer.norm_out(stream, embedding))] * 2
    assert not near(loop.latents[2], stepped(loop, 1, *without))

    def computed() -> mx.array:
        """Step 2 with what plain mflux has put into its caches."""
        third = [{**call, "kv_cache": cache} for call, cache in zip(calls[4:6], caches, strict=False)]
        return stepped(loop, 2, *(transformer(**call) for call in third))

    assert near(loop.latents[3], computed())
    for cache in caches:
        cache._single = [(key * 0, value * 0) for key, value in cache._single]
    assert not near(loop.latents[3], computed())


class ReadsLate:
    @hookimpl
    def mflux_post_transformer(self, step: Step) -> None:
        mx.eval(step.first_block_residual)


@pytest.mark.parametrize("plugin", [ReadsEverything, ReadsLate, Pattern])
def test_every_slot_is_filled_as_by_plain_mflux(model, arguments, plugin):
    caches = caches_of(model)
    generate(model, **arguments)
    with attach(model, plugin):
        generate(model, **arguments)
    plain, plugged = arrays(caches[:2]), arrays(caches[2:])
    assert len(plain) == len(plugged) == 2 * 2 * (2 + 3)
    assert all(map(same, plain, plugged))


def test_block_0_runs_again_in_the_first_step_only(model, arguments):
    """A probe's block 0 may leave things behind in another order than a run's; there it counts for nothing."""
    calls = seen_by(model.transformer.transformer_blocks[0])
    with attach(model, ReadsEverything):
        generate(model, **arguments)
    assert len(calls) == 3 + 4 * 2  # probe and both branches; probe, whose block 0 is carried, and the second branch


def test_the_residual_of_the_first_step_is_the_target_s(model, arguments):
    watch, made = kept(Watch)
    with attach(model, watch):
        generate(model, **arguments)
    rows = [[branch.residual.shape[1] for branch in body.branches] for body in made[0].bodies]
    assert rows == [[TARGET, TARGET]] * 5
    for branch in made[0].bodies[0].branches:
        assert same(branch.residual, branch.output - branch.input)


class AlwaysReuses:
    """Without asking: a residual of nothing for whatever rows there are."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    @hookimpl
    def mflux_pre_transformer(self) -> Decision:
        return Decision.reuse([mx.zeros((1, self.rows, 64))] * 2)


def test_the_first_step_is_computed_whatever_a_plugin_wants(model, arguments):
    loop = Loop()
    model.callbacks.register(loop)
    generate(model, **arguments)
    plain, loop.latents = loop.latents, []
    with attach(model, lambda: AlwaysReuses(TARGET + REFERENCES)) as handle:
        generate(model, **arguments)
    first, second, *_ = handle.stats.history[0].decisions
    assert (first.decision, first.reason) == ("forced", "the model needs all of branch 0, 1")
    assert (second.decision, second.reason) == ("forced", "no residual fits branch 0, 1")
    assert all(map(same, plain, loop.latents))
    with attach(model, lambda: AlwaysReuses(TARGET)) as handle:
        generate(model, **arguments)
    assert handle.stats.history[0].pattern == "CSSSS"
    assert handle.stats.forced_count == 1


def test_strategies_compare_the_target_s_rows_across_the_first_step(model, arguments):
    with pytest.raises(Refused, match="FLUX.2-klein-9b-kv is distilled"):
        attach(model, "teacache", coefficients=[1.0, 0.0], thresh=1e9)
    with attach(model, "teacache", coefficients=[1.0, 0.0], thresh=1e9, force=True) as handle:
        generate(model, **arguments)
    with attach(model, "first-block-cache", thresh=1e9, force=True) as first_block:
        generate(model, **arguments)
    assert handle.stats.history[0].pattern == "CSSSC"
    assert first_block.stats.history[0].pattern == "CSSSS"
    for record in (*handle.stats.history[0].decisions[1:], *first_block.stats.history[0].decisions[1:]):
        assert record.change is not None
        assert 0 < record.change < 10


def test_the_cache_is_asked_for_or_switched_off_as_in_mflux(model, arguments, monkeypatch):
    """Another model can have it where mflux does not compile."""
    monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)
    model.model_config = ModelConfig.flux2_klein_base_9b()
    for asked, rows in ((True, TARGET), (False, TARGET + REFERENCES)):
        plain = generate(model, use_kv_cache=asked, **arguments)
        watch, made = kept(Watch)
        with attach(model, watch):
            assert same(generate(model, use_kv_cache=asked, **arguments), plain)
        assert [body.branches[0].residual.shape[1] for body in made[0].bodies] == [rows] * 5
