"""What a family's entry may hold, and what its functions may give: checked in full for its author alone."""

from __future__ import annotations

import collections.abc
import types
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, get_args, get_origin, get_type_hints

import mlx.core as mx

from mflux_teacache.errors import UnsupportedModel
from mflux_teacache.family import Dual, Family, Joint
from mflux_teacache.pieces.option_types import Test, is_count_from
from mflux_teacache.spelling import brief, described, kind_of

_is_rows = is_count_from(0)

_NOT_EMPTY = ("body", "latents", "attribute", "methods")


class WrongFunctionError(Exception):
    """A function of an entry failed, or gave what it must not.

    It is no ``UnsupportedModel``: at attach the functions are tried with stand-ins, which most of them fail with.
    """

    def __init__(self, what: str, field: str) -> None:
        super().__init__(what)
        self.field = field


def wrong_function(error: BaseException | None) -> WrongFunctionError | None:
    """The function of an entry that is behind an error, also where a hook failed with it."""
    while error is not None and not isinstance(error, WrongFunctionError):
        error = error.__cause__
    return error


def check_fields(family: Any) -> None:
    """Refuse an entry that holds values of other types than its fields have.

    Raises:
        UnsupportedModel: it says which field, what it holds, and of which type it must be.
    """
    if not isinstance(family, Family):
        raise UnsupportedModel(f"the entry is {brief(family)}, and it must be a mflux_teacache.Family(...).")
    _check(family, family, "")
    for place, stage in enumerate(family.body):
        _check(family, stage, f"body[{place}].")
    if family.token_grid is not None:
        _check(family, family.token_grid, "token_grid.")


def _check(family: Family, entry: Any, where: str) -> None:
    what = f"the entry for {family.name}"
    kinds = get_type_hints(type(entry), localns={"mx": mx})
    for field in fields(entry):
        value = getattr(entry, field.name)
        if not _fits(value, kinds[field.name]) or (field.name == "pixels" and value < 1):
            least = " from 1" if field.name == "pixels" else ""
            raise UnsupportedModel(f"{what} has {where}{field.name} = {brief(value)}; it must be {field.type}{least}.")
        if field.name in _NOT_EMPTY and not value:
            raise UnsupportedModel(f"{what} has {where}{field.name} = {brief(value)}; it must name one at least.")


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_fits(value, each) for each in get_args(kind))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is collections.abc.Callable:
        return callable(value)
    if origin is tuple:
        each = arguments[:1] * len(value) if Ellipsis in arguments and isinstance(value, tuple) else arguments
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_fits, value, each))
    if kind is int:
        return _is_rows(value)
    return isinstance(value, kind)


def with_checked_functions(family: Family) -> Family:
    """The same entry, whose functions raise ``WrongFunctionError`` where they fail or give what they must not."""
    grid, must_compute = family.token_grid, family.must_compute
    if grid is not None and grid.after is not None:
        grid = replace(grid, after=_checked("token_grid.after", grid.after, _is_rows, "a whole number of rows"))
    if must_compute is not None:
        must_compute = _checked(
            "must_compute", must_compute, lambda value: not _is_array(value), "True or False, and no array"
        )
    return replace(
        family,
        body=tuple(_with_checked_rows(stage, place) for place, stage in enumerate(family.body)),
        modulated_input=_checked(
            "modulated_input",
            family.modulated_input,
            lambda value: _is_array(value) and value.ndim == 3,
            "an array (batch, rows, width)",
        ),
        sigma=_checked("sigma", family.sigma, _is_level, "an array of size 1, a number, or None"),
        latents=_checked("latents", family.latents, _is_array, "an array")
        if callable(family.latents)
        else family.latents,
        token_grid=grid,
        must_compute=must_compute,
    )


def _with_checked_rows(stage: Dual | Joint, place: int) -> Dual | Joint:
    if not isinstance(stage, Joint) or stage.image_rows is None:
        return stage
    rows = _checked(f"body[{place}].image_rows", stage.image_rows, _is_rows, "a whole number of rows")
    return replace(stage, image_rows=rows)


def first_line(error: BaseException) -> str:
    """Of an error's message: MLX's go on with signatures."""
    return described(error).partition("\n")[0]


def _checked(field: str, function: Callable[..., Any], test: Test, words: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        try:
            value = function(*arguments)
        except UnsupportedModel:  # it reads what is not there, and the message names that
            raise
        except Exception as error:
            raise WrongFunctionError(f"its function {field} fails: {first_line(error)}", field) from error
        if not test(value):
            raise WrongFunctionError(f"its function {field} gives {kind_of(value)}, and it must give {words}", field)
        return value

    return call


def _is_array(value: Any) -> bool:
    return isinstance(value, mx.array)


def _is_level(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (_is_array(value) and value.size == 1)
