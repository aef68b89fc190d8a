"""How the arguments of mflux's calls are read by name, and whether a family's entry fits the model at hand.

A newer mflux may have changed the model. Whatever can be known without running it is checked at attach, and the rest
when a step reads it. Either error says what is missing.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mflux_teacache.errors import NEWER_MFLUX, AlreadyAttached, UnsupportedModel
from mflux_teacache.family import Dual, Family, Joint

if TYPE_CHECKING:
    import mlx.core as mx

_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_WRAPPED = (
    ", and plugins read them by name. Something has wrapped a part of the model: use functools.wraps there, and attach "
    "again."
)


def takes_any(signature: inspect.Signature) -> bool:
    """Whether a call may bring arguments that the signature does not name."""
    return any(parameter.kind in _ANY for parameter in signature.parameters.values())


def of_method(cls: type, name: str) -> inspect.Signature:
    """A method's signature without ``self``, from the first class that names every argument."""
    # A wrapper in a subclass, such as one that counts calls, often takes ``*args, **kwargs`` and passes them on.
    found = [inspect.signature(vars(base)[name]) for base in cls.__mro__ if name in vars(base)]
    signature = next((signature for signature in found if not takes_any(signature)), found[0])
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def bind(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name, with defaults. Arguments without a name are left out."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return _flat(bound)[0]


def flat(bound: inspect.BoundArguments) -> dict[str, Any]:
    """The arguments of a call of a model by name, with those of ``**kwargs`` among them.

    Raises:
        UnsupportedModel: an argument has no name.
    """
    arguments, unnamed = _flat(bound)
    if unnamed:
        raise UnsupportedModel(
            f"mflux calls the model with {len(unnamed)} arguments that {bound.signature} does not name{_WRAPPED}"
        )
    return arguments


def _flat(bound: inspect.BoundArguments) -> tuple[dict[str, Any], tuple[Any, ...]]:
    arguments, unnamed = dict(bound.arguments), ()
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name)
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            unnamed = arguments.pop(name)
    return arguments, unnamed


class Given(dict[str, Any]):
    """The arguments of a call, by name, as an entry's functions read them.

    Reading a missing one raises ``UnsupportedModel``, which names it; ``get`` and ``in`` work as for any dict.

    Attributes:
        call: what is called, for messages.
    """

    call: str
    family: Family

    def latents(self) -> mx.array:
        """The latents, where the entry finds them: of several names, the first that is there."""
        names = self.family.latents
        if callable(names):
            return names(self)
        names = (names,) if isinstance(names, str) else names
        latents: mx.array = self[next((name for name in names if name in self), names[0])]
        return latents

    def __missing__(self, name: str) -> Any:
        raise changed(f"{self.call} has no argument {name!r} (it has {', '.join(self)})", self.family)


def given_of(call: str, family: Family) -> type[Given]:
    """A subclass of ``Given`` for the arguments of one kind of call."""
    # ``call`` and ``family`` are the class's, so that in each call an instance costs no more than a dict.
    return type("Given", (Given,), {"call": call, "family": family})


def given_of_prediction(family: Family) -> type[Given]:
    """A subclass of ``Given`` for the arguments of mflux's calls for a prediction."""
    return given_of("mflux's call for a prediction", family)


def read_by(family: Family, arguments: Mapping[str, Any]) -> set[str]:
    """The names of the arguments from which the entry reads the noise level and the latents of a prediction."""
    read: set[str] = set()

    class Noting(given_of_prediction(family)):  # type: ignore[misc]
        def __getitem__(self, name: str) -> Any:
            read.add(name)
            return super().__getitem__(name)

    noting = Noting(arguments)
    noting.latents()
    family.sigma(noting)
    return read


def changed(what: str, family: Family) -> UnsupportedModel:
    """The error for something that an entry names and the model does not have."""
    return UnsupportedModel(f"{what}, which the entry for {family.name} names; {NEWER_MFLUX}")


def other_length(transformer: Any, before: int, now: int) -> UnsupportedModel:
    """The error for blocks that came or went since the attachment."""
    return UnsupportedModel(
        f"{type(transformer).__name__} had {before} blocks when plugins were attached to it, and now it has {now}. "
        f"Attach again."
    )


def shared(block: Any, place: int) -> AlreadyAttached:
    """The error for a block that is another attached model's as well."""
    return AlreadyAttached(
        f"another model that plugins are attached to shares block {place} of this one ({type(block).__name__}). Call "
        f"restore() on that model's handle first, which mflux_teacache.attached(model) returns."
    )


# A block, and the list that it is in.
Listed = tuple[Dual | Joint, Any]


class Entry(NamedTuple):
    """A method by which mflux's forward enters a block.

    Attributes:
        place: the block's, in the body.
        stage: the list that the block is in.
        streams: names of the arguments that hold the streams, in the order in which the block returns them.
        forward: the method as mflux has it.
        signature: the method's signature, without ``self``.
        takes_any: a call may bring arguments that the signature does not name.
        given: turns a call's arguments, by name, into what the family's functions read.
    """

    place: int
    stage: Dual | Joint
    streams: tuple[str, ...]
    forward: Callable[..., Any]
    signature: inspect.Signature
    takes_any: bool
    given: type[Given]


def entries_of(cls: type, place: int, stage: Dual | Joint, family: Family) -> dict[str, Entry]:
    """The methods of a block of this class that the family's entry names, by name.

    Raises:
        UnsupportedModel: it has none of them, or a method lacks the argument that holds a stream.
    """
    entries = {name: _entry(cls, name, place, stage, family) for name in stage.methods if hasattr(cls, name)}
    if not entries:
        methods = " or ".join(map(repr, stage.methods))
        raise changed(f"{cls.__name__} in {stage.blocks!r} has no method {methods}", family)
    return entries


def _entry(cls: type, method: str, place: int, stage: Dual | Joint, family: Family) -> Entry:
    where = cls.__name__ if method == "__call__" else f"{cls.__name__}.{method}"
    signature = of_method(cls, method)
    streams = _streams_of(stage)
    missing = [name for name in streams if name not in signature.parameters]
    if missing and takes_any(signature):
        raise UnsupportedModel(f"{where} in {stage.blocks!r} does not name its argument {missing[0]!r}{_WRAPPED}")
    if missing:
        has = ", ".join(signature.parameters)
        raise changed(f"{where} in {stage.blocks!r} has no argument {missing[0]!r} (it has {has})", family)
    given = given_of(f"{cls.__name__} in {stage.blocks!r}", family)
    return Entry(place, stage, streams, getattr(cls, method), signature, takes_any(signature), given)


def _streams_of(stage: Dual | Joint) -> tuple[str, ...]:
    if isinstance(stage, Joint):
        return (stage.stream,)
    return (stage.image, stage.text) if stage.image_first else (stage.text, stage.image)


def check_blocks(transformers: Sequence[Sequence[Listed]], family: Family, residual_after: int) -> None:
    """Check the blocks of a model's transformers.

    Args:
        transformers: the blocks of each transformer.
        residual_after: how many first blocks run in every step.

    Raises:
        UnsupportedModel: a block's method or argument, or a part of block 0 that the family's entry names is missing,
            or the body is too short for ``residual_after``, or not of one length in all transformers.
    """
    blocks, *others = transformers
    if any(len(other) != len(blocks) for other in others):
        raise UnsupportedModel(
            f"the transformers of this {family.name} pipeline differ in their number of blocks: "
            f"{', '.join(str(len(each)) for each in transformers)}."
        )
    if residual_after >= len(blocks):
        raise UnsupportedModel(
            f"residual_after is {residual_after}, but the body of {family.name} has {len(blocks)} blocks: "
            f"at least one must be left to skip."
        )
    stage, first = blocks[0]
    for name, entry in entries_of(type(first), 0, stage, family).items():
        check_block(first, name, entry.signature, family)


def check_pipeline(model: Any, family: Family) -> None:
    """Check that a pipeline has its transformers and makes its predictions as the entry says.

    Raises:
        UnsupportedModel: there is no transformer where the entry says, or the calls for predictions lack an argument
            from which the entry reads the noise level or the latents.
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
    """Check that the entry's functions find in block 0 what they read.

    Args:
        method: the method by which mflux enters the block; ``signature`` is its own.

    Raises:
        UnsupportedModel: block 0 lacks an argument or a part that the entry's functions read.
    """
    parameters = _parameters(signature)
    if parameters is not None:
        stage = family.body[0]
        where = type(block).__name__ if method == "__call__" else f"{type(block).__name__}.{method}"
        given = _stand_ins(parameters, f"{where} in {stage.blocks!r}", family)
        _try(family.modulated_input, _BlockStandIn(block, family), given)
        if family.must_compute is not None:
            _try(family.must_compute, given)
        if isinstance(stage, Joint) and stage.image_rows is not None:
            _try(stage.image_rows, given)


def _check_call(model: Any, family: Family) -> None:
    """Check the call of the transformer, or of what runs the blocks in its stead, if there is no predict function."""
    called = getattr(model, family.caller, None) if family.caller else None
    cls = type(getattr(model, family.attributes[0]) if called is None else called)
    parameters = _parameters(of_method(cls, "__call__"))
    if parameters is not None:
        lacks = f"{type(model).__name__} has no method {' or '.join(map(repr, family.predict))}, and "
        _check_prediction(parameters, f"{lacks if family.predict else ''}{cls.__name__}.__call__", family)


def _check_compiled(transformer: Any, family: Family) -> None:
    """Check the functions that the transformer compiles, as far as this release of mflux has them."""
    name = type(transformer).__name__
    found = False
    for kept, method in family.compiles:
        if not hasattr(transformer, kept) and not hasattr(transformer, method):
            continue
        for missing, other in ((kept, method), (method, kept)):
            # A release has both of a pair or neither; one alone means that mflux has renamed the other.
            if not hasattr(transformer, missing):
                raise changed(f"{name} has {other!r}, but no {missing!r}", family)
        found = True
        if parameters := _parameters(of_method(type(transformer), method)):
            _check_prediction(parameters, f"{name}.{method}", family)
    if not found:
        raise changed(f"{name} has no method {' or '.join(repr(method) for _, method in family.compiles)}", family)


def _check_factory(factory: Callable[..., Any], name: str, family: Family) -> None:
    """Check that one of the functions that a method defines is the predict function that the entry describes."""
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
    if family.token_grid is not None and family.token_grid.after is not None:
        _try(family.token_grid.after, given)


def _parameters(signature: inspect.Signature) -> list[str] | None:
    """The names of a signature's parameters; ``None`` if a call may bring others."""
    return None if takes_any(signature) else list(signature.parameters)


def _parameters_of_defined(function: Any) -> Iterator[list[str]]:
    """The parameters of each function whose ``def`` stands right inside another one."""
    # They are read from the code, so that nothing of mflux's has to be called for a check.
    open_ended = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
    for code in function.__code__.co_consts:
        if isinstance(code, types.CodeType) and code.co_name.isidentifier() and not code.co_flags & open_ended:
            yield list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def _stand_ins(parameters: list[str], call: str, family: Family) -> Given:
    return given_of(call, family)(dict.fromkeys(parameters, _StandIn()))


def _try(function: Callable[..., Any], *arguments: Any) -> None:
    """Call an entry's function with stand-ins to see which names it reads."""
    try:
        function(*arguments)
    except UnsupportedModel:
        raise
    except Exception:  # noqa: BLE001 - a stand-in is no array; what the function read before it failed is known
        pass


class _StandIn:
    """Stands for a value that no step has given yet. It can be called, indexed and calculated with, and no more."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # else numpy and MLX would take it for an array by their protocols
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
    """Stands for a block. It has the parts that the block has, as stand-ins."""

    def __init__(self, block: Any, family: Family) -> None:
        self._block = block
        self._family = family

    def __getattr__(self, name: str) -> Any:
        if not hasattr(self._block, name):
            raise changed(
                f"{type(self._block).__name__} in {self._family.body[0].blocks!r} has no {name!r}", self._family
            )
        return _StandIn()
