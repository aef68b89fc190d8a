"""Each block of a body compiled on its own, where mflux runs the whole transformer as Python.

Blocks that are alike share a function, which is traced once: tracing each of FLUX.1's 57 blocks takes 0.1 s.

``mx.compile`` fuses the elementwise work between a block's matrix products. Results are within rounding of eager
ones, not bit-identical.
"""

from __future__ import annotations

import itertools
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from mflux_teacache.errors import PluginWarning, UnsupportedModel

BlockForward = Callable[..., Any]

_CONSTANTS = (int, float, str, type(None))  # what a compiled function takes, beside arrays and trees of them


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """A block taken apart.

    Attributes:
        arrays: of the block and the modules in it, also those that are no parameters: inputs of its function.
        rest: all else that its forward may read, such as classes and a LoRA's scale, which its function takes over.
    """

    arrays: list[mx.array]
    rest: list[Any]

    def is_like(self, rest: Sequence[Any]) -> bool:
        """Whether a function that took over ``rest`` is right for this block."""
        return len(self.rest) == len(rest) and all(map(_equal, self.rest, rest))


@dataclass(frozen=True, slots=True, eq=False)
class _Compiled:
    """One compiled function for all blocks that are alike but for the values of their arrays.

    Attributes:
        rest: what it has taken over from the block that it was made for.
        call: from a block's arrays, and the arguments that are inputs, to what the block returns.
    """

    rest: list[Any]
    call: Callable[[list[mx.array], Mapping[str, Any]], Any]


class CompiledBlocks:
    """Compiles blocks as they are called, and keeps the functions that one image after the other calls.

    The arrays of a block, and of its call, are inputs of its function: so nothing of the model or of a prompt is
    held from one image to the next, when mflux may have freed the model, or changed it. All else of a block is looked
    at in each call, since it may change between two steps.

    Args:
        looked_at: names of block arguments whose values the block's own Python looks at. They are constants of the
            function, since a traced array has no value.
        numbered: names of arguments and attributes by which a block knows its place, and which nothing reads. A
            function leaves them out: else no two blocks were alike.
    """

    def __init__(self, looked_at: tuple[str, ...] = (), numbered: tuple[str, ...] = ()) -> None:
        self._looked_at = looked_at
        self._numbered = numbered
        self._compiled: dict[tuple[Any, ...], list[_Compiled]] = {}  # by how they are called
        self._latest: dict[tuple[Any, ...], tuple[list[Any], _Compiled]] = {}  # by how, and by which block
        self._given: type | None = None  # an object that a block is called with, and that no function takes
        self._said_so = False

    def change_nothing(self, why: str) -> None:
        """Say that there is nothing to compile, once for all images: else it would look like a thing that fails."""
        if not self._said_so:
            self._said_so = True
            warnings.warn(
                f"--plugin-compile-blocks (compile_blocks=True) changes nothing here: {why}. Leave it out.",
                PluginWarning,
                stacklevel=2,
            )

    def end_image(self) -> None:
        """Forget what this image did not call: functions for many sizes and prompts would pile up."""
        if self._given is not None and not self._latest:
            self.change_nothing(
                f"the model's blocks are called with an object ({self._given.__name__}), and what is compiled takes "
                f"arrays"
            )
        latest, self._latest = self._latest, {}
        used = {compiled for _, compiled in list(latest.values())}  # other images may be under way
        kept = {kind: [one for one in functions if one in used] for kind, functions in list(self._compiled.items())}
        self._compiled = {kind: functions for kind, functions in kept.items() if functions}
        self._given = None

    def call(self, forward: BlockForward, block: Any, arguments: Mapping[str, Any]) -> Any:
        """``forward(block, **arguments)``; not compiled if an argument is neither array nor constant.

        Raises:
            UnsupportedModel: what is said to be unread is read.
        """
        unread = [name for name in self._numbered if name in arguments]
        read = {name: value for name, value in arguments.items() if name not in unread}
        leaves = tree_flatten(read)
        objects = [type(leaf) for _, leaf in leaves if not isinstance(leaf, (mx.array, *_CONSTANTS))]
        if objects:
            [self._given, *_] = objects
            return forward(block, **arguments)  # a key/value cache, which the block fills
        constants: dict[str, Any] = {name: read[name] for name in self._looked_at if read.get(name) is not None}
        inputs = {name: value for name, value in read.items() if name not in constants}
        kind = (forward, *unread, *map(_form, leaves), *map(_values, constants.values()))
        parts = _taken_apart(block, self._numbered)
        key = (id(block), kind)
        rest, compiled = self._latest.get(key, ([], None))
        if compiled is None or not _identical(parts.rest, rest):
            constants |= {name: _Unread(name) for name in unread}
            compiled = self._function(kind, forward, block, parts, constants)
            self._latest[key] = parts.rest, compiled
        return compiled.call(parts.arrays, inputs)

    def _function(
        self, kind: tuple[Any, ...], forward: BlockForward, block: Any, parts: _Parts, constants: Mapping[str, Any]
    ) -> _Compiled:
        """That of a block like this one, of this image or the one before; else a new one."""
        functions = self._compiled.setdefault(kind, [])
        for known in functions:
            if parts.is_like(known.rest):
                return known
        functions.append(_Compiled(parts.rest, _compiled(forward, block, constants, self._numbered)))
        return functions[-1]


class _Unread:
    """In the place of a block's number, while its Python runs: a number that is read would be that of all blocks."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _read(self, *_: object) -> Any:
        raise UnsupportedModel(
            f"this version of mflux reads {self._name!r} in its blocks, which compiled ones cannot tell apart. "
            f"Leave out --plugin-compile-blocks (compile_blocks=True), or upgrade mflux-teacache-plugin."
        )

    __bool__ = __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = __index__ = __int__ = __str__ = _read
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __floordiv__ = _read


def _compiled(
    forward: BlockForward, block: Any, constants: Mapping[str, Any], numbered: tuple[str, ...]
) -> Callable[[list[mx.array], Mapping[str, Any]], Any]:
    """Args:
    block: is not held, nor any of its arrays.
    """
    like_it = _rebuilt(block, itertools.repeat(_HOLE))
    vars(like_it).update({name: _Unread(name) for name in numbered if name in vars(like_it)})

    def traced(arrays: list[mx.array], inputs: Mapping[str, Any]) -> Any:
        """The arrays are the function's inputs, in a block of its own: the model's is not touched while this runs."""
        return forward(_rebuilt(like_it, iter(arrays)), **inputs, **constants)

    return mx.compile(traced)


def _taken_apart(block: Any, numbered: tuple[str, ...]) -> _Parts:
    arrays: list[mx.array] = []
    # While plugins are attached, each block has a first class of its own.
    rest: list[Any] = [*type(block).__mro__[1:]]
    for name, value in vars(block).items():
        if name not in numbered:
            rest += name, value
    _collect(block, arrays, rest)
    return _Parts(arrays, rest)


def _collect(tree: Any, arrays: list[mx.array], rest: list[Any]) -> None:
    """What the entries of a module, or of a list or dict in one, come to."""
    for place, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, mx.array):
            arrays.append(value)
            rest.append(place)
        elif isinstance(value, _TREES):
            rest += place, type(value)
            if isinstance(value, nn.Module):
                rest += vars(value)
                rest += vars(value).values()
            _collect(value, arrays, rest)
        else:
            rest += place, value


_TREES = (dict, list, tuple)  # a module is a dict


def _rebuilt(tree: Any, arrays: Iterator[Any]) -> Any:
    """The same modules, lists and dicts with other arrays, taken from the iterator in the order of ``_collect``."""
    if isinstance(tree, mx.array) or tree is _HOLE:
        return next(arrays)
    if isinstance(tree, nn.Module):
        cls: Any = type(tree)
        module = cls.__new__(cls)
        vars(module).update(vars(tree))
        dict.update(module, {name: _rebuilt(value, arrays) for name, value in tree.items()})
        return module
    if isinstance(tree, dict):
        return {name: _rebuilt(value, arrays) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        make = getattr(tree, "_make", type(tree))  # a named tuple takes its fields apart
        return make(_rebuilt(value, arrays) for value in tree)
    return tree


_HOLE = object()  # where an array was


def _identical(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))


def _equal(one: Any, other: Any) -> bool:
    """The same object, or plain values that are equal: others may compare by what they hold, or not at all."""
    return one is other or (type(one) is type(other) and _is_plain(one) and bool(one == other))


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_plain, value))
    return isinstance(value, (*_CONSTANTS, bytes))


def _form(leaf: tuple[str, Any]) -> tuple[Any, ...]:
    name, value = leaf
    return (name, value.shape, value.dtype) if isinstance(value, mx.array) else (name, value)


def _values(array: mx.array) -> tuple[Any, ...]:
    return tuple(array.flatten().tolist())  # type: ignore[arg-type]
