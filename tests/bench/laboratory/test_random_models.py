"""Random models of full size: their sizes, and their pipelines with narrow transformers."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from installed import MFLUX
from mflux.models.common.config.model_config import ModelConfig
from mlx import nn
from mlx.utils import tree_flatten
from narrow_models import PROMPT, narrow
from recording import Watch
from strategies import kept

from mflux_teacache import attach
from mflux_teacache.bench.laboratory import random_models
from mflux_teacache.bench.laboratory.random_models import RECIPES


@pytest.mark.parametrize(
    ("name", "billions", "blocks"),
    [
        ("flux1-dev", 11.90, (19, 38)),
        ("flux2-klein-base-4b", 3.88, (5, 20)),
        ("flux2-klein-base-9b", 9.08, (8, 24)),
        ("qwen-image", 20.43, (60,)),
        ("z-image", 6.15, (30,)),
        ("fibo", 8.29, (8, 38)),
    ],
)
def test_full_size(name: str, billions: float, blocks: tuple[int, ...]) -> None:
    transformer = RECIPES[name].transformer(RECIPES[name].config())  # lazy: nothing is evaluated
    parameters = sum(array.size for _, array in tree_flatten(transformer.parameters()))
    assert parameters / 1e9 == pytest.approx(billions, abs=0.006)
    assert _lengths(transformer) == blocks


def _lengths(transformer: nn.Module) -> tuple[int, ...]:
    lists = ("transformer_blocks", "single_transformer_blocks", "layers")
    return tuple(len(getattr(transformer, name)) for name in lists if hasattr(transformer, name))


@pytest.mark.parametrize("name", RECIPES)
def test_mflux_own_pipeline_makes_an_image(name: str, tiny: None) -> None:
    model = narrow(name)
    assert type(model) is RECIPES[name].pipeline
    assert set(_lengths(model.transformer)) == {1}
    final = []

    class Listener:
        def call_after_loop(self, *, latents: mx.array, **_: Any) -> None:
            final.append(latents)

    model.callbacks.register(Listener())
    image = model.generate_image(seed=1, prompt=PROMPT, num_inference_steps=2, height=32, width=64, guidance=4.0)
    assert image.image.size == (64, 32)
    assert mx.isfinite(final[0]).all()
    assert image.quantization is None


def test_weights_are_random_in_mflux_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelConfig, "precision", mx.bfloat16)
    parameters = dict(tree_flatten(narrow("qwen-image").transformer.parameters()))
    assert {array.dtype for array in parameters.values()} == {mx.bfloat16}
    matrix = parameters["transformer_blocks.0.attn.to_q.weight"].astype(mx.float32)
    assert matrix.std().item() == pytest.approx(random_models.WEIGHT_SCALE, rel=0.02)
    assert not mx.array_equal(matrix, parameters["transformer_blocks.0.attn.to_k.weight"])
    assert (parameters["transformer_blocks.0.attn.norm_q.weight"] == 1).all()
    assert (parameters["transformer_blocks.0.attn.to_q.bias"] == 0).all()


def test_quantised_as_mflux_does_it(tiny: None) -> None:
    model = narrow("qwen-image", quantize=4)
    [block] = model.transformer.transformer_blocks
    assert isinstance(block.attn.to_q, nn.QuantizedLinear)
    assert block.attn.to_q.bits == 4
    assert block.img_mod_linear.bits == (4 if MFLUX < (0, 19) else 8)  # mflux keeps this one
    image = model.generate_image(seed=1, prompt=PROMPT, num_inference_steps=1, height=32, width=32)
    assert image.quantization == 4


STREAMS = {
    "flux1-dev": mx.float32,
    "qwen-image": mx.float32,
    "fibo": mx.float32,
    "flux2-klein-base-4b": mx.bfloat16,
    "z-image": mx.bfloat16,
}


# Quantised as far as the narrow models can be: some of their layers are not as wide as a group.
@pytest.mark.parametrize(
    ("name", "quantize"),
    [*((name, None) for name in STREAMS), ("qwen-image", 8), ("fibo", 8), ("flux2-klein-base-4b", 8)],
)
def test_the_stream(name: str, quantize: int | None, tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/performance.md says so."""
    monkeypatch.setattr(ModelConfig, "precision", mx.bfloat16)
    model: Any = narrow(name, quantize=quantize)
    watch, made = kept(Watch)
    with attach(model, watch):
        model.generate_image(seed=1, prompt=PROMPT, num_inference_steps=1, height=32, width=32, guidance=4.0)
    [seen] = made
    assert {branch.residual.dtype for branch in seen.bodies[0].branches} == {STREAMS[name]}
