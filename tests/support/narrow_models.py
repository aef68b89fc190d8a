"""The models with random weights, with narrow transformers of one block."""

from __future__ import annotations

from typing import Any

from mflux_teacache.bench.laboratory import random_models

_FLUX2 = {
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 64,
    "axes_dims_rope": (8, 8, 8, 8),
}
# FLUX.1 and FIBO are narrowed by the fixture ``tiny``.
NARROW: dict[str, dict[str, Any]] = {
    "flux2-klein-base-4b": _FLUX2,
    "flux2-klein-base-9b": _FLUX2,
    "qwen-image": {"num_attention_heads": 1, "joint_attention_dim": 64},
    "z-image": {"dim": 32, "n_refiner_layers": 1, "n_heads": 2, "cap_feat_dim": 12, "axes_dims": [4, 6, 6]},
}
PROMPT = '{"scene": "a red apple"}'


def narrow(name: str, **arguments: Any) -> Any:
    return random_models.build(name, **{"blocks": 1, **arguments}, **NARROW.get(name, {}))
