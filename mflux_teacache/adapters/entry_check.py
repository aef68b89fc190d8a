"""Whether a family's entry fits the model in hand, which a newer mflux may have changed.

What can be known without running the model is found out at attach. The rest is found out when a step reads it. Both
say what was looked for.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mflux_teacache.adapters import signatures
from mflux_teacache.errors import UnsupportedModel
from mflux_teacache.family import Family, Joint


def changed(what: str, family: Family) -> UnsupportedModel:
    """The error for something that an entry names and the model does not have."""
    return UnsupportedModel(
        f"{what}, which the entry for {family.name} names. "
        f"This version of mflux may be newer than the newest supported one: upgrade mflux-teacache-plugin."
    )


class Given(dict[str, Any]):
    """The arguments of a call, by name, as an entry's functions read them.

    Args:
        call: what is called, for messages.

    Reading one that is not there raises UnsupportedModel, which names it; ``get`` and ``in`` are a dict's.
    """

    def __init__(self, arguments: Mapping[str, Any], call: str, family: Family) -> None:
        super().__init__(arguments)
        self._call = call
        self._family = family

    def latents(self) -> Any:
        """As the entry finds them: of several names the first that is there."""
        names = self._family.latents
        if callable(names):
            return names(self)
        names = (names,) if isinstance(names, str) else names
        return self[next((name for name in names if name in self), names[0])]

    def __missing__(self, name: str) -> Any:
        raise changed(f"{self._call} has no argument {name!r} (it has {', '.join(self)})", self._family)


def check_pipeline(model: Any, family: Family) -> None:
    """Raises:
    UnsupportedModel: a pipeline has no transformer where the entry says, or calls for its predictions without what the
        entry reads the noise level and the latents from.
    """
    for attribute in family.attributes:
        if getattr(model, attribute, None) is None:
            raise changed(f"{type(model).__name__} has no transformer {attribute!r}", family)
    methods = [name for name in family.predict if hasattr(model, name)]
    for name in methods:
        _check_factory(getattr(model, name), f"{type(model).__name__}.{name}", family)
    if family.compiles:
        _check_compiled(getattr(model, family.attributes[0]), family)
    elif not methods:
        _check_call(model, family)


def check_block(block: Any, method: str, signature: inspect.Signature, family: Family) -> None:
    """Args:
        method: by which mflux enters the block, with its ``signature``.

    Raises:
        UnsupportedModel: block 0 lacks an argument or a part that the entry's functions read.
    """
    parameters = _parameters(signature)
    if parameters is not None:
        stage = family.body[0]
        where = type(block).__name__ if method == "__call__" else f"{type(block).__name__}.{method}"
        given = _stand_ins(parameters, f"{where} in {stage.blocks!r}", family)
        _try(family.modulated_input, _BlockStandIn(block, family), given)
        _try(family.must_compute, given)
        if isinstance(stage, Joint) and stage.image_rows is not None:
            _try(stage.image_rows, given)


def _check_call(model: Any, family: Family) -> None:
    """Of a pipeline without a predict function: it calls its transformer, or what runs the blocks in its stead."""
    called = getattr(model, family.caller, None) if family.caller else None
    cls = type(getattr(model, family.attributes[0]) if called is None else called)
    parameters = _parameters(signatures.of_method(cls, "__call__"))
    if parameters is not None:
        lacks = f"{type(model).__name__} has no method {' or '.join(map(repr, family.predict))}, and "
        _check_prediction(parameters, f"{lacks if family.predict else ''}{cls.__name__}.__call__", family)


def _check_compiled(transformer: Any, family: Family) -> None:
    """Of the functions that the transformer compiles, those that this release of mflux has, each as described."""
    name = type(transformer).__name__
    found = False
    for kept, method in family.compiles:
        if not hasattr(transformer, kept) and not hasattr(transformer, method):
            continue
        for missing, other in ((kept, method), (method, kept)):
            if not hasattr(transformer, missing):
                raise changed(f"{name} has {other!r}, but no {missing!r}", family)
        found = True
        if parameters := _parameters(signatures.of_method(type(transformer), method)):
            _check_prediction(parameters, f"{name}.{method}", family)
    if not found:
        raise changed(f"{name} has no method {' or '.join(repr(method) for _, method in family.compiles)}", family)


def _check_factory(factory: Callable[..., Any], name: str, family: Family) -> None:
    """Of the functions that a method defines, one must be the predict function that the entry describes."""
    function = inspect.unwrap(getattr(factory, "__func__", factory))
    errors = []
    for parameters in _parameters_of_defined(function):
        try:
            _check_prediction(parameters, f"the function that {name} builds", family)
        except UnsupportedModel as error:
            errors.append(error)
        else:
            return
    if errors:
        raise errors[0]


def _check_prediction(parameters: list[str], call: str, family: Family) -> None:
    given = _stand_ins(parameters, call, family)
    _try(given.latents)
    _try(family.sigma, given)


def _parameters(signature: inspect.Signature) -> list[str] | None:
    """``None`` if a call may bring others."""
    return None if signatures.takes_any(signature) else list(signature.parameters)


def _parameters_of_defined(function: Any) -> Iterator[list[str]]:
    """Of each function whose ``def`` stands right in another one, which need not be called for that."""
    open_ended = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
    for code in function.__code__.co_consts:
        if isinstance(code, types.CodeType) and code.co_name.isidentifier() and not code.co_flags & open_ended:
            yield list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def _stand_ins(parameters: list[str], call: str, family: Family) -> Given:
    return Given(dict.fromkeys(parameters, _StandIn()), call, family)


def _try(function: Callable[..., Any], *arguments: Any) -> None:
    """Call an entry's function to see which names it reads. It gets as far as stand-ins take it."""
    try:
        function(*arguments)
    except UnsupportedModel:
        raise
    except Exception:  # noqa: BLE001 - a stand-in is no array: what was read before that is known
        pass


class _StandIn:
    """Stands for a value that no step has given yet. It can be called, indexed and reckoned with, and no more."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # no protocol of numpy's or MLX's
            raise AttributeError(name)
        return self

    def _itself(self, *_: Any, **__: Any) -> Any:
        return self

    __call__ = __getitem__ = _itself
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _itself
    __iter__ = None  # a loop over it would not end

    def __bool__(self) -> bool:
        raise TypeError("a stand-in is neither true nor false")


class _BlockStandIn:
    """Stands for a block: has the parts that it has, as stand-ins."""

    def __init__(self, block: Any, family: Family) -> None:
        self._block = block
        self._family = family

    def __getattr__(self, name: str) -> Any:
        if not hasattr(self._block, name):
            raise changed(
                f"{type(self._block).__name__} in {self._family.body[0].blocks!r} has no {name!r}", self._family
            )
        return _StandIn()
