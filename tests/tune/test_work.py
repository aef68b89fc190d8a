"""How much is drawn, and what a limit leaves of it."""

from __future__ import annotations

import pytest

from mflux_teacache.bench.runs import Case
from mflux_teacache.tune.work import Work


def work(prompts: int, candidates: int = 4) -> Work:
    cases = tuple(Case("a cat", seed) for seed in range(prompts))
    return Work(cases=cases, steps=28, budgets=(14, 9), candidates=candidates)


@pytest.mark.parametrize(("prompts", "fitted"), [(2, 1), (3, 2), (4, 2), (5, 3), (24, 12)])
def test_no_prompt_is_both_fitted_to_and_checked(prompts: int, fitted: int) -> None:
    cases = work(prompts).cases
    assert (work(prompts).fitted, work(prompts).checked) == (cases[:fitted], cases[fitted:])
    assert work(prompts).checked


def test_all_that_is_computed() -> None:
    assert work(3).images == 3 + 5 * 2
    assert work(3).computed == 3 * 28 + 5 * (14 + 9)


def test_a_limit_takes_candidates_first_and_then_prompts() -> None:
    full = work(5)
    assert full.within(full.computed) == full
    assert full.within(full.computed - 1) == work(5, 3)
    few = full.within(work(5, 2).computed - 1)
    assert few is not None
    assert (len(few.cases), few.candidates) == (4, 2)
    assert full.within(work(2, 2).computed - 1) == work(2, 1) == full.least
    assert full.within(full.least.computed - 1) is None


def test_no_less_is_left_out_than_need_be() -> None:
    full = work(6)
    for most in range(full.least.computed, full.computed + 1, 7):
        less = full.within(most)
        assert less is not None
        assert less.computed <= most
