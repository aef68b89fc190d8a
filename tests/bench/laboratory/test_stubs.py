"""What stands in for prompt encoders."""

from __future__ import annotations

import mlx.core as mx

from mflux_teacache.bench.laboratory.stubs import Tokenizer


def test_prompts_are_padded_where_mflux_pads_them() -> None:
    assert Tokenizer(padded_to=512).tokenize("a").input_ids.shape == (1, 512)
    free = Tokenizer(template=5)
    assert free.tokenize("twelve chars").input_ids.shape == (1, 8)
    assert free.tokenize(" ").attention_mask.shape == (1, 6)
    assert not mx.array_equal(free.tokenize("a cat").input_ids, free.tokenize("a dog").input_ids)
