"""The dtype in which mflux runs a body with bfloat16 weights, on which the memory of a cache depends."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mflux.models.common.config.model_config import ModelConfig
from narrow_models import PROMPT, narrow
from recording import Watch
from strategies import kept

from mflux_teacache import attach

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
