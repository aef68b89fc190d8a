"""Each block of a body compiled on its own, where mflux runs the whole transformer as Python.

``mx.compile`` fuses the elementwise work between a block's matrix products. Results are within rounding of eager
ones, not bit-identical.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import mlx.core as mx
from mlx.utils import tree_flatten

from mflux_teacache.errors import PluginWarning

BlockForward = Callable[..., Any]

_CONSTANTS = (int, float, str, type(None))  # what a compiled function takes, beside arrays and trees of them


class _Compiled(NamedTuple):
    """A block's compiled function, and what of the block is built into it."""

    block: weakref.ref[Any]
    constants: list[Any]
    function: Callable[..., Any]


class CompiledBlocks:
    """Compiles blocks as they are called, and keeps the functions that one image after the other calls.

    The arrays of a block, and of its call, are inputs of its function: so nothing of the model or of a prompt is
    held from one image to the next, when mflux may have freed the model, or changed it.

    Args:
        looked_at: names of block arguments whose values the block's own Python looks at. They are constants of the
            function, since a traced array has no value.
    """

    def __init__(self, looked_at: tuple[str, ...] = ()) -> None:
        self._looked_at = looked_at
        self._compiled: dict[tuple[Any, ...], _Compiled] = {}
        self._used: set[tuple[Any, ...]] = set()
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
        self._compiled = {key: self._compiled[key] for key in self._used}
        self._used = set()
        self._given = None

    def call(self, forward: BlockForward, block: Any, arguments: Mapping[str, Any]) -> Any:
        """``forward(block, **arguments)``; not compiled if an argument is neither array nor constant."""
        leaves = tree_flatten(dict(arguments))
        objects = [type(leaf) for _, leaf in leaves if not isinstance(leaf, (mx.array, *_CONSTANTS))]
        if objects:
            [self._given, *_] = objects
            return forward(block, **arguments)  # a key/value cache, which the block fills
        constants = {name: arguments[name] for name in self._looked_at if arguments.get(name) is not None}
        inputs = {name: value for name, value in arguments.items() if name not in constants}
        key = (id(block), forward, *map(_form, leaves), *map(_values, constants.values()))
        if key not in self._used:
            self._used.add(key)
            self._compile(key, forward, block, constants)
        return self._compiled[key].function([holder[place] for holder, place in _slots(block)], inputs)

    def _compile(self, key: tuple[Any, ...], forward: BlockForward, block: Any, constants: dict[str, mx.array]) -> None:
        """Once per image, unless the function of the image before still holds: nothing of the block has changed."""
        known = self._compiled.get(key)
        built_in = list(_built_in(block))
        if known is None or known.block() is not block or known.constants != built_in:
            reference = weakref.ref(block)
            self._compiled[key] = _Compiled(reference, built_in, mx.compile(_traced(forward, reference, constants)))


def _traced(forward: BlockForward, reference: weakref.ref[Any], constants: dict[str, mx.array]) -> Callable[..., Any]:
    def run(arrays: list[mx.array], inputs: dict[str, Any]) -> Any:
        """Runs to be traced, with the function's inputs in the places of the block's own arrays."""
        block = reference()
        slots = list(_slots(block))
        own = [holder[place] for holder, place in slots]
        _fill(slots, arrays)
        try:
            return forward(block, **inputs, **constants)
        finally:
            _fill(slots, own)

    return run


def _fill(slots: list[tuple[Any, Any]], arrays: list[mx.array]) -> None:
    for (holder, place), array in zip(slots, arrays, strict=True):
        holder[place] = array


def _slots(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Where a module and those in it hold arrays; also those that are no parameters, whose names begin with ``_``."""
    for place, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, mx.array):
            yield tree, place
        elif isinstance(value, dict | list):
            yield from _slots(value)


def _built_in(block: Any) -> Iterator[Any]:
    """What else of a block its forward may read: class and plain attributes, such as a LoRA's scale, of each module."""
    for name, module in block.named_modules():
        yield name, type(module), dict(vars(module))


def _form(leaf: tuple[str, Any]) -> tuple[Any, ...]:
    name, value = leaf
    return (name, value.shape, value.dtype) if isinstance(value, mx.array) else (name, value)


def _values(array: mx.array) -> tuple[Any, ...]:
    return tuple(array.flatten().tolist())  # type: ignore[arg-type]
