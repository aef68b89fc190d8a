"""In which order guidance branches come, as docs/writing-a-plugin.md says: told by what another prompt changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import all_cases
import mlx.core as mx
import pytest
from strategies import Pattern, kept
from tiny_models import generate, same

from mflux_teacache import attach

pytestmark = pytest.mark.usefixtures("tiny")

CASES = all_cases.cases_of()
# Those whose stub of a text encoder listens to the prompt.
TWO_CALLS = ("flux2-guidance", "anima-guidance", "krea2-guidance", "flux3-base", "ming-guidance", "moss-guidance")
ONE_BATCH = ("ernie-guidance", "iris-base")


def first_step(case: str, prompt: str, photo: Path) -> list[mx.array]:
    """What the body put out for each branch."""
    model, arguments = CASES[case].make(photo)
    plugin, made = kept(Pattern)
    with attach(model, plugin):
        generate(model, **arguments, prompt=prompt, num_inference_steps=2)
    body: Any = made[0].bodies[0]
    return [branch.output for branch in body.branches]


@pytest.mark.parametrize("case", [case for case in TWO_CALLS if case in CASES])
def test_the_prompt_s_branch_comes_first(case: str, photo: Path) -> None:
    (prompted, negative), (other, still) = (first_step(case, prompt, photo) for prompt in ("x", "a cat"))
    assert not same(prompted, other)
    assert same(negative, still)


@pytest.mark.parametrize("case", [case for case in ONE_BATCH if case in CASES])
def test_of_one_batch_the_negative_prompt_s_half_comes_first(case: str, photo: Path) -> None:
    [both], [other] = (first_step(case, prompt, photo) for prompt in ("x", "a cat"))
    assert both.shape[0] == 2
    assert same(both[:1], other[:1])
    assert not same(both[1:], other[1:])
