"""Each block of a body compiled on its own, where mflux runs the whole transformer as Python.

Blocks that are alike share a function, which is traced once: tracing each of FLUX.1's 57 blocks takes 0.1 s.

``mx.compile`` fuses the elementwise work between a block's matrix products. Results are within rounding of eager
ones, not bit-identical.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from mflux_teacache.errors import PluginWarning, UnsupportedModel

BlockForward = Callable[..., Any]

_CONSTANTS = (int, float, str, type(None))  # what a compiled function takes, beside arrays and trees of them


@dataclass(frozen=True, slots=True, eq=False)
class _Compiled:
    """One compiled function for all blocks that are alike but for the values of their arrays.

    Attributes:
        built_in: what it has taken over from the block that it was traced with (``_built_in``).
        call: calls a block by it, with the arguments that are its inputs.
    """

    built_in: list[Any]
    call: Callable[[Any, Mapping[str, Any]], Any]


class CompiledBlocks:
    """Compiles blocks as they are called, and keeps the functions that one image after the other calls.

    The arrays of a block, and of its call, are inputs of its function: so nothing of the model or of a prompt is
    held from one image to the next, when mflux may have freed the model, or changed it.

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
        self._used: dict[tuple[Any, ...], _Compiled] = {}  # in this image; by how, and by which block
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
        if self._given is not None and not self._used:
            self.change_nothing(
                f"the model's blocks are called with an object ({self._given.__name__}), and what is compiled takes "
                f"arrays"
            )
        used = set(self._used.values())
        kept = {call: [one for one in functions if one in used] for call, functions in self._compiled.items()}
        self._compiled = {call: functions for call, functions in kept.items() if functions}
        self._used = {}
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
        key = (id(block), kind)
        if key not in self._used:
            constants |= {name: _Unread(name) for name in unread}
            self._used[key] = self._function(kind, forward, block, constants)
        return self._used[key].call(block, inputs)

    def _function(
        self, kind: tuple[Any, ...], forward: BlockForward, block: Any, constants: Mapping[str, Any]
    ) -> _Compiled:
        """That of a block like this one, of this image or the one before; else a new one."""
        built_in = list(_built_in(block, self._numbered))
        functions = self._compiled.setdefault(kind, [])
        for known in functions:
            if known.built_in == built_in:
                return known
        functions.append(_Compiled(built_in, _compiled(forward, constants, self._numbered)))
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
    forward: BlockForward, constants: Mapping[str, Any], numbered: tuple[str, ...]
) -> Callable[[Any, Mapping[str, Any]], Any]:
    called: list[Any] = []  # the block, for as long as it runs

    def traced(arrays: list[mx.array], inputs: Mapping[str, Any]) -> Any:
        """With the function's inputs in the places of the block's own arrays."""
        block = called[-1]
        slots = [*_slots(block), *_numbers(block, numbered)]
        own = [holder[place] for holder, place in slots]
        _fill(slots, [*arrays, *(_Unread(place) for _, place in slots[len(arrays) :])])
        try:
            return forward(block, **inputs, **constants)
        finally:
            _fill(slots, own)

    function = mx.compile(traced)

    def call(block: Any, inputs: Mapping[str, Any]) -> Any:
        called.append(block)
        try:
            return function([holder[place] for holder, place in _slots(block)], inputs)
        finally:
            called.pop()

    return call


def _fill(slots: list[tuple[Any, Any]], values: list[Any]) -> None:
    for (holder, place), value in zip(slots, values, strict=True):
        holder[place] = value


def _slots(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Where a module and those in it hold arrays; also those that are no parameters, whose names begin with ``_``."""
    for place, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, mx.array):
            yield tree, place
        elif isinstance(value, dict | list):
            yield from _slots(value)


def _numbers(block: Any, names: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """Where a block keeps its number."""
    return ((vars(block), name) for name in names if name in vars(block))


def _built_in(block: Any, numbered: tuple[str, ...]) -> Iterator[Any]:
    """What else of a block its forward may read: of each module the classes, the names of its arrays, and plain
    attributes, such as a LoRA's scale. Lists, dicts and tuples of plain values are kept with the arrays.
    """
    yield [(place, leaf) for place, leaf in tree_flatten(dict(block)) if not isinstance(leaf, mx.array)]
    for name, module in block.named_modules():
        attributes = dict(vars(module))
        classes = type(module).__mro__
        if module is block:
            classes = classes[1:]  # while plugins are attached, each block has a first one of its own
            attributes = {key: value for key, value in attributes.items() if key not in numbered}
        yield name, classes, [place for place, value in module.items() if isinstance(value, mx.array)], attributes


def _form(leaf: tuple[str, Any]) -> tuple[Any, ...]:
    name, value = leaf
    return (name, value.shape, value.dtype) if isinstance(value, mx.array) else (name, value)


def _values(array: mx.array) -> tuple[Any, ...]:
    return tuple(array.flatten().tolist())  # type: ignore[arg-type]
