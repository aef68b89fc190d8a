"""The run: mflux's forward runs through, and each guidance branch computes its body or reuses a residual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import mlx.core as mx

from mflux_teacache.adapters.block_call import BlockCall
from mflux_teacache.adapters.probe_phase import Carry
from mflux_teacache.adapters.streams import Streams, own
from mflux_teacache.family import Family


class Branch(NamedTuple):
    """One guidance branch of a run: the image streams, and whether the body was passed by, or could not have been."""

    input: mx.array
    output: mx.array
    reused: bool
    in_full: bool = False


class Dtypes(NamedTuple):
    """Of the image stream when it was last computed: where the residual begins, and after the body."""

    input: mx.Dtype
    output: mx.Dtype


class RunPhase:
    """Several guidance branches, one after the other.

    A branch may leave blocks out, the first or the last one too. So it begins where the index of the called block
    does not grow, which is right as long as the branch before it has called a block of that index or a later one;
    and its last call is known only afterwards, so each skipped call returns what the whole body returns.

    Args:
        residual_after: how many first blocks run in every branch.
        residuals: branch i reuses the i-th one, if it fits.
        carry: of the first branch, from a probe.
        dtypes: of the stream that the residuals were made in; ``None`` = whichever there is now.

    Attributes:
        branches: those that have ended, in the order of their calls.
    """

    def __init__(
        self,
        family: Family,
        residual_after: int,
        residuals: Sequence[mx.array | None],
        carry: Carry | None,
        dtypes: Dtypes | None,
    ) -> None:
        self.branches: list[Branch] = []
        self._dtypes = dtypes
        self._family = family
        self._residual_after = residual_after
        self._residuals = residuals
        self._carry = carry
        self._index: int | None = None  # of the last called block
        self._reused: Streams | None = None  # what the body returns, from its first skipped call on

    def at(self, call: BlockCall) -> Any:
        begins = self._index is None or call.index <= self._index
        if begins:
            self.end_branch()
            self._begin(call)
        self._index = call.index
        if self._residual is not None and call.index >= self._residual_after:
            return self._skip(call)
        return self._compute(call, begins)

    def evaluate(self, *arrays: Any) -> None:
        """``mx.eval``, if the branch that runs, or is about to begin, computes.

        What a skipped branch needs of it, if anything, is evaluated with its result.
        """
        if (self._given() if self._index is None else self._residual) is None:
            mx.eval(*arrays)

    def _given(self) -> mx.array | None:
        """The residual for the next branch."""
        place = len(self.branches)
        return self._residuals[place] if place < len(self._residuals) else None

    def _begin(self, call: BlockCall) -> None:
        entry = self._carry.entry if self._carry else call.streams(call.image_rows()).copy()
        residual = self._given()
        self._in_full = self._family.must_compute(call.given(call.arguments))
        fits = residual is not None and not self._in_full and self._fits(residual, entry.image)
        self._residual = residual if fits else None
        if self._in_full and self._carry:  # block 0 as well, which leaves more behind than its streams
            self._carry = Carry(self._carry.entry, None)
        self._base = entry  # what the residual is added to
        self._image_rows = entry.image.shape[1]

    def _fits(self, residual: mx.array, stream: mx.array) -> bool:
        """A stream of another size or type than the residual was made in must compute."""
        return residual.shape == stream.shape and (self._dtypes is None or self._dtypes.input == stream.dtype)

    def _skip(self, call: BlockCall) -> Any:
        if self._reused is None:
            assert self._residual is not None
            # A residual that a plugin keeps in a wider dtype must not widen what comes after the body.
            dtype = self._base.image.dtype if self._dtypes is None else self._dtypes.output
            image = (self._base.image + self._residual).astype(dtype)
            self._reused = Streams(image, _blank(self._base.text))
        if self._reused.text is None:  # the first list may have the image's rows alone
            self._reused = self._reused._replace(text=_blank(call.streams(self._image_rows).text))
        return call.pack(self._reused.copy())

    def _compute(self, call: BlockCall, begins: bool) -> Any:
        returned = self._first(call) if begins else call.run()
        # Taken apart only where it is needed: most of a body's blocks are neither its last nor its first.
        self._last = call, tuple(map(own, call.returned_streams(returned)))
        if call.index < self._residual_after:
            self._base = self._computed()
        return returned

    def _computed(self) -> Streams:
        """What the last computed block returned."""
        call, returned = self._last
        return call.unpack(returned, self._image_rows)

    def _first(self, call: BlockCall) -> Any:
        """The branch's first block: from where the probe left it."""
        if self._carry is None:
            return call.run()
        if self._carry.first is None:
            return call.on(self._carry.entry.copy()).run()
        return call.pack(self._carry.first.copy())

    def end_branch(self) -> None:
        """The forward is over, or another branch begins."""
        if self._index is None:
            return
        if self._reused is None:
            output = self._computed().image
            self.branches.append(Branch(self._base.image, output, reused=False, in_full=self._in_full))
        else:
            self.branches.append(Branch(self._base.image, own(self._reused.image), reused=True))
        self._reused = self._carry = None  # what the probe left belongs to the first branch


def _blank(text: mx.array | None) -> mx.array | None:
    """Zeros in the place of text. Nothing after a body reads it, so nothing of it need be evaluated."""
    return None if text is None else mx.zeros_like(text)
