"""What ``check_family`` says of entries that hold or give the wrong things: one line, which names the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from dreams import FAMILY, Dreamer, Dreams

from mflux_teacache.errors import UnsupportedModel
from mflux_teacache.family import Dual, Family, Joint, TokenGrid
from mflux_teacache.testing import check_family

check = partial(check_family, seed=1, prompt="x", num_inference_steps=4, height=64, width=64)


def failing(*_: Any) -> Any:
    raise ValueError("mine")


def body(**changes: Any) -> dict[str, Any]:
    return {"body": (Joint("layers", **{"stream": "x", **changes}),)}


def grid(**changes: Any) -> dict[str, Any]:
    return {"token_grid": TokenGrid(**{"pixels": 8, **changes})}


def refused(family: Any, model: Any = None) -> str:
    with pytest.raises(UnsupportedModel) as raised:
        check(model or Dreams(), family)
    said = str(raised.value)
    assert "\n" not in said
    return said


def test_the_right_one_passes() -> None:
    check(Dreams(), FAMILY)
    check(Dreams(), replace(FAMILY, must_compute=lambda call: None, **grid(text_first=True, after=lambda call: 0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "has name = None; it must be str."),
        ({"transformer": Dreamer}, "has transformer = <class 'dreams.Dreamer'>; it must be str."),
        ({"body": Joint("layers", stream="x")}, "; it must be tuple[Dual | Joint, ...]."),
        ({"body": ("layers",)}, "has body = ('layers',); it must be tuple[Dual | Joint, ...]."),
        ({"body": ()}, "has body = (); it must name one at least."),
        (body(stream=None), "has body[0].stream = None; it must be str."),
        (body(methods="__call__"), "has body[0].methods = '__call__'; it must be tuple[str, ...]."),
        (body(methods=()), "has body[0].methods = (); it must name one at least."),
        (body(returns_more="1"), "has body[0].returns_more = '1'; it must be int."),
        (body(returns_more=-1), "has body[0].returns_more = -1; it must be int."),
        (body(image_rows=64), "has body[0].image_rows = 64; it must be Callable[[Arguments], int] | None."),
        ({"modulated_input": "norm"}, "has modulated_input = 'norm'; it must be Callable[[Any, Arguments], mx.array]."),
        ({"sigma": None}, "has sigma = None; it must be Callable[[Arguments], mx.array | float | None]."),
        ({"latents": ["noisy"]}, "has latents = ['noisy']; it must be str | tuple[str, ...] | Callable["),
        ({"latents": ""}, "has latents = ''; it must name one at least."),
        ({"token_grid": 16}, "has token_grid = 16; it must be TokenGrid | None."),
        (grid(pixels=0), "has token_grid.pixels = 0; it must be int from 1."),
        ({"predict": "_predict"}, "has predict = '_predict'; it must be tuple[str, ...]."),
        ({"compiles": ("_compiled", "run")}, "it must be tuple[tuple[str, str], ...]."),
        ({"compilable": 1}, "has compilable = 1; it must be bool."),
    ],
)
def test_a_field_of_another_type(changes: dict[str, Any], message: str) -> None:
    said = refused(replace(FAMILY, **changes))
    assert said.startswith(f"the entry for {changes.get('name', 'dreamer')} has ")
    assert message in said


@pytest.mark.parametrize("entry", [None, {"name": "dreamer"}, Family])
def test_what_is_no_entry(entry: Any) -> None:
    assert refused(entry).endswith("and it must be a mflux_teacache.Family(...).")


def test_what_is_no_pipeline() -> None:
    assert "which makes no images" in refused(FAMILY, SimpleNamespace())


@pytest.mark.parametrize(
    ("field", "make", "gives", "must_give"),
    [
        ("modulated_input", lambda of: {"modulated_input": of}, 1.0, "an array (batch, rows, width)"),
        ("sigma", lambda of: {"sigma": of}, "a", "an array of size 1, a number, or None"),
        ("latents", lambda of: {"latents": of}, None, "an array"),
        ("must_compute", lambda of: {"must_compute": of}, mx.array(True), "True or False, and no array"),
        ("token_grid.after", lambda of: grid(text_first=True, after=of), None, "a whole number of rows"),
        ("body[0].image_rows", lambda of: body(image_rows=of), 2.5, "a whole number of rows"),
    ],
)
def test_a_function_that_fails_or_gives_something_else(
    field: str, make: Callable[[Any], dict[str, Any]], gives: Any, must_give: str
) -> None:
    said = refused(replace(FAMILY, **make(failing)))
    assert f"its function {field} fails: ValueError: mine. Look at {field}." in said
    said = refused(replace(FAMILY, **make(lambda *_: gives)))
    named = "an array" if isinstance(gives, mx.array) else repr(gives)
    assert f"its function {field} gives {named}, and it must give {must_give}. Look at {field}." in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (body(returns_more=1), "with plugins attached it fails: TypeError: layer_norm(): incompatible function arg"),
        ({"body": (Dual("layers", image="x", text="scale"),)}, "with plugins attached it fails: TypeError: "),
        ({"predict": ("generate_image",)}, "with plugins attached it fails: TypeError: Dreams.generate_image() got an"),
        ({"must_compute": lambda call: True}, "step 1 runs in full, or its body (after 0 blocks) changes nothing"),
        (grid(text_first=True, after=lambda call: 7), "the signal's 64 rows are too few for the tokens. Look at token"),
    ],
)
def test_what_only_an_image_shows(changes: dict[str, Any], message: str) -> None:
    assert message in refused(replace(FAMILY, **changes))


class Compiling(Dreamer):
    """Compiles itself, and keeps what it has compiled."""

    def __call__(self, noisy: mx.array, noise: mx.array) -> mx.array:
        if not hasattr(self, "_compiled"):
            self._compiled = mx.compile(super().__call__)
        return self._compiled(noisy, noise)


class CompilingPipeline(Dreams):
    """Compiles its calls of the transformer anew for each image."""

    def generate_image(self, *args: Any, **kwargs: Any) -> None:
        transformer = self.transformer
        self.transformer = mx.compile(lambda noisy, noise: transformer(noisy, noise))
        try:
            super().generate_image(*args, **kwargs)
        finally:
            self.transformer = transformer


def test_what_is_compiled_where_the_entry_names_nothing() -> None:
    model = Dreams()
    model.transformer.__class__ = Compiling
    for each in (model, CompilingPipeline()):
        said = refused(FAMILY, each)
        assert "with mx.compile switched off it does, and otherwise not: " in said
        assert "Look at predict and compiles: they must name every mx.compile around the body" in said
