"""What the runtime asks of an adapter: one of the model's calls for a prediction, which it can look into and decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import mlx.core as mx


class Probed(Protocol):
    """What a forward knows before its body runs."""

    @property
    def modulated_input(self) -> mx.array: ...
    @property
    def first_block_residual(self) -> mx.array | None:
        """``None`` if block 0 was not asked for."""


class Ran(NamedTuple):
    """One guidance branch that a forward has run.

    Attributes:
        input, output: image part of the stream: where the residual begins, and after the body. ``None`` where the
            transformer's output was reused: nothing of the body ran.
        reused: the body was passed by.
        in_full: it had to run, whatever was decided: the model keeps more of it than its output.
        model_output: what the transformer returned, or would have returned, to mflux.
    """

    input: mx.array | None
    output: mx.array | None
    reused: bool
    in_full: bool = False
    model_output: mx.array | None = None


class Reuse(NamedTuple):
    """What the guidance branches are to reuse.

    Attributes:
        arrays: one for each branch, by its number; a branch without one computes.
        at_output: they are outputs of the transformer, and not residuals of its body.
    """

    arrays: Sequence[mx.array | None] = ()
    at_output: bool = False


class Forward(Protocol):
    """One of mflux's calls for a prediction; the adapter's whole interface to the runtime.

    A step may need several: mflux calls some transformers once per guidance branch.
    """

    def run(self, decide: Callable[[], Reuse]) -> tuple[Any, Mapping[int, Ran]]:
        """Run through, and return mflux's result and the branches that ran.

        They are in the order in which they ran, by the numbers that they have in the image, and each reuses the
        array of its own number where it fits. ``decide`` is called once, before the body would run; from then on the
        forward can be probed.
        """

    def probe(self, *, first_block: bool) -> Probed:
        """What is known at the body's block 0, and of block 0 itself. What was found is kept for the next call."""

    def sigma(self) -> mx.array | float | None:
        """Noise level, 1 = pure noise."""

    def latents(self) -> mx.array:
        """What is being denoised."""

    def first_token(self, rows: int, tokens: int) -> int:
        """Which of the rows of a signal is the first of the image's tokens, in a family with a token grid."""
