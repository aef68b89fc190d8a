"""What a computed step added to its input, kept until the next computed step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mlx.core as mx


class ResidualCache:
    """One residual per guidance branch of a step, in mflux's order of calling."""

    def __init__(self) -> None:
        self._residuals: tuple[mx.array, ...] = ()

    @property
    def empty(self) -> bool:
        return not self._residuals

    @property
    def nbytes(self) -> int:
        """Memory that the residuals take once they are evaluated."""
        return sum(residual.nbytes for residual in self._residuals)

    @property
    def residuals(self) -> tuple[mx.array, ...]:
        """Shape ``(batch, rows, width)`` each, in the body's dtype.

        Raises:
            LookupError: nothing is stored.
        """
        if self.empty:
            raise LookupError(
                "the residual cache is empty: no step was computed since it was made or cleared. "
                "Compute a step and store() its residuals before reusing them."
            )
        return self._residuals

    def store(self, residuals: Sequence[mx.array]) -> None:
        """Replace what is held."""
        self._residuals = tuple(residuals)

    def clear(self) -> None:
        """Drop the arrays."""
        self._residuals = ()
