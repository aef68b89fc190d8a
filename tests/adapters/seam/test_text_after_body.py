"""What a skipped body returns for text is read by nobody, in no pipeline: so zeros stand in for it."""

from __future__ import annotations

import math
from pathlib import Path

import all_cases
import mlx.core as mx
import pytest
from strategies import Pattern, PatternAfterFirstBlock
from tiny_models import generate, same

from mflux_teacache import attach
from mflux_teacache.adapters.families import FAMILIES, QWEN21_EDIT
from mflux_teacache.adapters.pipelines import PIPELINES
from mflux_teacache.adapters.seam import run
from mflux_teacache.family import Dual

# Families in which text is a stream, or rows of one, of its own. Qwen-Image 2.1's editing caches most of its text.
APART = {family.name for family in FAMILIES if len(family.body) > 1 or isinstance(family.body[0], Dual)}
CACHED = QWEN21_EDIT.name

CASES = {
    name: case
    for name, case in all_cases.cases_of().items()
    if PIPELINES[case.pipeline.__name__].family in {*APART, CACHED}
}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("plugin", [Pattern, PatternAfterFirstBlock])
def test_the_image_is_the_same_whatever_the_text_is(
    name: str, plugin: type, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, arguments = CASES[name].make(photo)
    replaced: list[mx.array] = []

    def unusable(text: mx.array | None) -> mx.array | None:
        if text is None:
            return None
        replaced.append(text)
        return mx.full(text.shape, math.nan, text.dtype)

    with attach(model, plugin):
        zeros = generate(model, **arguments)
        monkeypatch.setattr(run, "blank", unusable)
        assert same(generate(model, **arguments), zeros)
    assert mx.isfinite(zeros).all()
    assert replaced or PIPELINES[CASES[name].pipeline.__name__].family == CACHED
