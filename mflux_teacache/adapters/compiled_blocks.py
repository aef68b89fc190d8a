"""Each block of a body compiled on its own, where mflux runs the whole transformer as Python.

``mx.compile`` fuses the elementwise work between a block's matrix products. Results are within rounding of eager
ones, not bit-identical.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

_TAKEN = (mx.array, int, float, str, type(None))  # what a compiled function takes, and trees of it


class CompiledBlocks:
    """Compiles blocks as they are called, for one image: its functions hold the blocks and their weights.

    Tracing a block takes a millisecond or two. What takes longer, building kernels for the device, MLX does once
    per process.

    Args:
        looked_at: names of block arguments whose values the block's own Python looks at. They are constants of the
            compiled function, since a traced array has no value.
    """

    def __init__(self, looked_at: tuple[str, ...] = ()) -> None:
        self._looked_at = looked_at
        self._functions: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def call(self, forward: Callable[..., Any], block: Any, arguments: Mapping[str, Any]) -> Any:
        """``forward(block, **arguments)``; not compiled if an argument is neither array nor constant."""
        if not all(isinstance(leaf, _TAKEN) for _, leaf in tree_flatten(dict(arguments))):
            return forward(block, **arguments)  # a key/value cache, which the block fills
        constants = {name: arguments[name] for name in self._looked_at if arguments.get(name) is not None}
        key = (id(block), *(tuple(array.flatten().tolist()) for array in constants.values()))
        if key not in self._functions:
            self._functions[key] = mx.compile(functools.partial(forward, block, **constants))
        return self._functions[key](**{name: value for name, value in arguments.items() if name not in constants})

    def clear(self) -> None:
        """Let go of the blocks."""
        self._functions.clear()
