"""Arguments by name, also where somebody has wrapped what is called."""

from __future__ import annotations

import inspect
from typing import Any

from mflux_teacache.errors import UnsupportedModel

_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def takes_any(signature: inspect.Signature) -> bool:
    """A call may bring arguments that it does not name."""
    return any(parameter.kind in _ANY for parameter in signature.parameters.values())


def of_method(cls: type, name: str) -> inspect.Signature:
    """Without ``self``, from the first class that names every argument.

    A wrapper in a subclass, such as one that counts calls, often takes ``*args, **kwargs`` and passes them on.
    """
    found = [inspect.signature(vars(base)[name]) for base in cls.__mro__ if name in vars(base)]
    signature = next((signature for signature in found if not takes_any(signature)), found[0])
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def bind(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, with defaults; without those that have no name."""
    return _bind(signature, args, kwargs)[0]


def bind_all(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """As above, of a call of a model.

    Raises:
        UnsupportedModel: an argument has no name.
    """
    arguments, unnamed = _bind(signature, args, kwargs)
    if unnamed:
        raise UnsupportedModel(
            f"mflux calls the model with {len(unnamed)} arguments that {signature} does not name, and plugins read "
            f"them by name. Something has wrapped a part of the model: use functools.wraps there."
        )
    return arguments


def _bind(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    arguments, unnamed = dict(bound.arguments), ()
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name)
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            unnamed = arguments.pop(name)
    return arguments, unnamed
