"""What the seam keeps from one moment of a step, or from one step, to the next."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

import mlx.core as mx

from mflux_teacache.forward import Ran

# The same values as another Python object. MLX's ``+=`` changes the very object that it is applied to, and mflux's
# forwards use it (FLUX.1 with ControlNet does), so an array that is kept or handed out must not be theirs.
own: Callable[[mx.array], mx.array] = itemgetter(...)


class Streams(NamedTuple):
    """Image part and text part of what enters or leaves a block."""

    image: mx.array
    text: mx.array | None = None


class Carry(NamedTuple):
    """The streams before and, where they are known, after block 0 of a step's first branch: what a run takes over.

    So nothing that a probe has evaluated is evaluated again.
    """

    entry: Streams
    first: Streams | None = None


class Probe(NamedTuple):
    """What is known at block 0 of a step's first branch. Nothing is evaluated, and most of it never will be.

    Attributes:
        carry: what enters block 0, and what it returns if that was asked for. A run gets block 0's output only then: a
            compiled run fuses across block 0 as mflux's own does, and rounds alike, if block 0 is part of it.
        first_block_residual: what block 0 adds to the image; ``None`` if it was not asked for.
    """

    carry: Carry
    modulated_input: mx.array
    first_block_residual: mx.array | None = None


class Made(NamedTuple):
    """What is known of a prediction from when it was last computed.

    Attributes:
        input, output: dtypes of the image stream: where the residual begins, and after the body.
        shape, dtype: of what the transformer returned; ``None`` where that was no array.
    """

    input: mx.Dtype
    output: mx.Dtype
    shape: tuple[int, ...] | None = None
    dtype: mx.Dtype | None = None

    @classmethod
    def by(cls, branch: Ran) -> Made:
        """What is known from a branch that was computed."""
        assert branch.input is not None, "it was computed"
        assert branch.output is not None, "it was computed"
        returned = branch.model_output
        more = () if returned is None else (returned.shape, returned.dtype)
        return cls(branch.input.dtype, branch.output.dtype, *more)
