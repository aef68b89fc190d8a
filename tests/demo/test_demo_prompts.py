"""Prompts to measure on: random, repeatable, and none that something was fitted on."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mflux_teacache.demo.prompts import FITTED, held_out
from mflux_teacache.demo.vocabulary import parse


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 30))
def test_different_and_drawable(seed: int, count: int) -> None:
    prompts = held_out(count, seed=seed, without=FITTED)
    assert len({parse(prompt) for prompt in prompts}) == count


def test_the_same_for_a_seed() -> None:
    assert held_out(9, seed=3, without=())[:5] == held_out(5, seed=3, without=())
    assert held_out(9, seed=3, without=()) != held_out(9, seed=4, without=())


def test_what_is_left_out_does_not_come_in_another_spelling() -> None:
    first, second, third = held_out(3, seed=3, without=())
    assert held_out(2, seed=3, without=[f"a {second}"]) == [first, third]


def test_disjoint_from_what_the_calibration_was_fitted_on() -> None:
    assert {parse(prompt) for prompt in FITTED}.isdisjoint(map(parse, held_out(200, seed=7, without=FITTED)))
