"""The entries of Qwen-Image, Z-Image, Ming-Image and FIBO against the calls that mflux's own pipelines make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from all_cases import cases_of
from mflux.utils.apple_silicon import AppleSiliconUtil
from recording import Loop, Watch, run, seen_by
from strategies import kept
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.pipelines import family_of
from mflux_teacache.adapters.seam.compiled import probe
from mflux_teacache.adapters.seam.image import Body

pytestmark = pytest.mark.usefixtures("tiny")

CASES = cases_of("cases_fibo", "cases_ming", "cases_qwen", "cases_z_image", "cases_z_image_controlnet")

# The attention of block 0, and its argument that takes the signal.
ATTENTION = {
    "qwen": ("attn", "img_modulated"),
    "z_image": ("attention", "hidden_states"),
    "ming_image": ("attention", "x"),
    "fibo": ("attn", "hidden_states"),
}

# Rows of the body's image stream, guidance branch by guidance branch, and the batch of each: 64x64 pixels are 16 rows.
BRANCHES = {
    "fibo": [(1, 16)],
    "fibo-guidance": [(2, 16)],  # one call: [without prompt, with prompt]
    "fibo-lite": [(1, 16)],
    "fibo-img2img": [(2, 16)],
    "fibo-edit": [(1, 32)],
    "fibo-edit-guidance": [(2, 32)],
    "fibo-edit-rmbg": [(1, 32)],
    "ming": [(1, 16 + 10)],
    "ming-guidance": [(1, 16 + 10), (1, 16 + 10)],
    "qwen": [(1, 16), (1, 16)],
    "qwen-img2img": [(1, 16), (1, 16)],
    "qwen-edit-2509": [(1, 32), (1, 32)],
    "qwen-edit-2509-two-images": [(1, 48), (1, 48)],
    "qwen-edit-2511": [(1, 32), (1, 32)],
    "z-image": [(1, 32 + 64)],  # image and caption, each padded to a multiple of 32
    "z-image-guidance": [(1, 32 + 64), (1, 32 + 32)],
    "z-image-turbo": [(1, 32 + 64)],
    "z-image-img2img": [(1, 32 + 64), (1, 32 + 32)],
    "z-image-controlnet": [(1, 32 + 64)],
}


@pytest.fixture(params=CASES)
def transformer_and_call(
    request: pytest.FixtureRequest, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Callable[[], Any]]:
    """A transformer, and its pipeline's last call of it: of the second guidance branch where there are two."""
    monkeypatch.setattr(AppleSiliconUtil, "is_m1_or_m2", lambda: True)  # nothing is compiled
    model, arguments = CASES[request.param].make(photo)
    calls = seen_by(model.transformer)
    generate(model, num_inference_steps=3, **arguments)
    last = calls[-1]
    return model.transformer, lambda: model.transformer(**last)


def test_the_signal_is_what_block_0_hands_to_its_attention(
    transformer_and_call: tuple[Any, Callable[[], Any]],
) -> None:
    transformer, call = transformer_and_call
    family = family_of(transformer, FAMILIES)
    body = Body(transformer, family)
    body.install()
    attention, argument = ATTENTION[family.name]
    seen = seen_by(getattr(getattr(transformer, family.body[0].blocks)[0], attention))
    signal = probe(body, call, first_block=True).modulated_input
    assert len(seen) == 1
    assert same(signal, seen[0][argument])


def test_the_body_s_own_residual_reproduces_the_output(
    transformer_and_call: tuple[Any, Callable[[], Any]],
) -> None:
    transformer, call = transformer_and_call
    plain = call()
    for residual_after in (0, 1, 2):
        body = Body(transformer, family_of(transformer, FAMILIES), residual_after)
        body.install()
        computed_result, [computed] = run(body, call, [], None)
        assert same(computed_result, plain)
        residual = computed.output - computed.input
        result, [reused] = run(body, call, [residual], None)
        assert reused.reused
        assert same(reused.output, computed.input + residual)
        assert mx.allclose(result, plain, atol=1e-5)
        without, _ = run(body, call, [mx.zeros_like(residual)], None)
        assert not mx.allclose(without, plain, atol=1e-3)
        body.restore()
    assert same(call(), plain)


@pytest.fixture(params=CASES)
def watched(request: pytest.FixtureRequest, photo: Path) -> SimpleNamespace:
    """One image under a plugin that watches."""
    model, arguments = CASES[request.param].make(photo)
    loop = Loop()
    model.callbacks.register(loop)
    plugin, made = kept(Watch)
    with attach(model, plugin) as handle:
        generate(model, **arguments)
    return SimpleNamespace(name=request.param, loop=loop, plugin=made[0], stats=handle.stats.history[0])


def test_a_plugin_sees_the_pipeline_s_sigmas_latents_steps_and_branches(watched: SimpleNamespace) -> None:
    sigmas = [record.sigma for record in watched.stats.decisions]
    assert sigmas == pytest.approx(watched.loop.sigmas, abs=1e-6)
    assert sigmas == sorted(set(sigmas), reverse=True)
    assert (sigmas[0] == pytest.approx(1)) == ("img2img" not in watched.name)

    for seen, entered in zip(watched.plugin.latents, watched.loop.latents, strict=False):
        assert same(seen, entered)

    steps = len(watched.plugin.steps)
    assert steps == (4 if watched.name.startswith("ming") else 3 if "img2img" in watched.name else 5)
    assert steps == watched.stats.num_steps == watched.plugin.targets[-1].active_steps

    expected = BRANCHES[watched.name]
    assert watched.plugin.branches == [None] + [len(expected)] * (steps - 1)
    for body in watched.plugin.bodies:
        assert [branch.input.shape[:2] for branch in body.branches] == expected
