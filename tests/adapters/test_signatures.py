"""A call's arguments by name: those of the method that names them, whatever stands around it."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from mflux_teacache.adapters.entry_check import bind, of_method, takes_any
from mflux_teacache.adapters.seam.run import by_name
from mflux_teacache.errors import UnsupportedModel


class Plain:
    def __call__(self, x: int, time: float = 0.5, *, mask: None = None) -> None: ...


class PassesOn(Plain):
    def __call__(self, *args: Any, **kwargs: Any) -> None: ...


class NamesSome(Plain):
    def __call__(self, x: int, **more: Any) -> None: ...


class Renamed(PassesOn):
    def __call__(self, latents: int) -> None: ...


def test_a_wrapper_that_passes_arguments_on_has_those_of_what_it_wraps() -> None:
    for cls in (Plain, PassesOn, NamesSome):
        assert list(of_method(cls, "__call__").parameters) == ["x", "time", "mask"]
    assert list(of_method(Renamed, "__call__").parameters) == ["latents"]


def test_a_method_that_was_replaced_tells_by_functools_wraps() -> None:
    class Replaced:
        @functools.wraps(Plain.__call__)
        def __call__(self, *args: Any, **kwargs: Any) -> None: ...

    assert list(of_method(Replaced, "__call__").parameters) == ["x", "time", "mask"]


def test_arguments_have_names_and_defaults() -> None:
    assert bind(of_method(PassesOn, "__call__"), (1,), {"mask": 2}) == {"x": 1, "time": 0.5, "mask": 2}


def test_further_keywords_are_arguments_like_others() -> None:
    class Open:
        def __call__(self, x: int, **more: Any) -> None: ...

    signature = of_method(Open, "__call__")
    assert takes_any(signature)
    assert bind(signature, (1,), {"mask": 2}) == {"x": 1, "mask": 2}
    assert bind(signature, (1,), {}) == {"x": 1}


def test_an_argument_without_a_name_is_left_out_or_refused() -> None:
    def replaced(*args: Any, **kwargs: Any) -> None: ...

    signature = inspect.signature(replaced)
    assert bind(signature, (1, 2), {"x": 1}) == by_name(signature, True, (), {"x": 1}) == {"x": 1}
    message = r"calls the model with 2 arguments that \(\*args.* does not name, .*: use functools\.wraps there"
    with pytest.raises(UnsupportedModel, match=message):
        by_name(signature, True, (1, 2), {})
