"""The seam: a transformer whose body can be probed, computed or reused, with no line of its forward copied.

Each block of the body changes its ``__class__`` for a subclass. While a phase is on, the subclass asks the
phase what to do; without one, and after ``restore()``, the model runs as mflux wrote it. The phases:

* probe (``probe_phase``): stop at block 0 with its inputs. What comes later in the forward is never built.
* run (``run_phase``): per guidance branch, compute the body and note its input and output, or let its blocks
  return ``input + residual``, and zeros for text, whatever they are called with. MLX is lazy, so what is passed by is
  never evaluated.
* both in one (``deciding_phase``), where the forward is not compiled: pause at block 0, and run on from there.

Arrays that mflux's forward may change in place (``+=`` in FLUX.1 with ControlNet) are copied where they are
kept or handed out.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import mlx.core as mx

from mflux_teacache.adapters import swaps
from mflux_teacache.adapters.block_call import BlockCall
from mflux_teacache.adapters.body_blocks import Entry, blocks_of, entries_of
from mflux_teacache.adapters.compiled_blocks import CompiledBlocks
from mflux_teacache.adapters.deciding_phase import Decide, DecidingPhase
from mflux_teacache.adapters.entry_check import check_block
from mflux_teacache.adapters.family import Family
from mflux_teacache.adapters.probe_phase import Carry, Probe, ProbePhase, Stopped
from mflux_teacache.adapters.run_phase import Branch, Dtypes, RunPhase
from mflux_teacache.errors import UnsupportedModel


class _Phase(Protocol):
    def at(self, call: BlockCall) -> Any:
        """In the place of the call."""

    def evaluate(self, *arrays: Any) -> None:
        """In the place of ``mx.eval`` of work beside the body."""


class Body:
    """The body of a pipeline's transformer. Holds no strong reference to the transformer or its blocks.

    Args:
        transformer: an mflux transformer.
        family: its entry.
        residual_after: how many first blocks run in every step; the residual is taken after them.
        others: the transformers that the pipeline calls for its further guidance branches, if it has several.
        compile_blocks: compile each block on its own, where mflux does not compile more than that.

    Raises:
        UnsupportedModel: a block list, a block's method or argument, or a part of block 0 that the family's entry
            names is missing, or the body is too short for ``residual_after``, or of another length in one of
            ``others``.
    """

    def __init__(
        self,
        transformer: Any,
        family: Family,
        residual_after: int = 0,
        others: Sequence[Any] = (),
        *,
        compile_blocks: bool = False,
    ) -> None:
        blocks, *more = (blocks_of(each, family) for each in (transformer, *others))
        if any(len(each) != len(blocks) for each in more):
            raise UnsupportedModel(
                f"the transformers of this {family.name} pipeline differ in their number of blocks: "
                f"{', '.join(str(len(each)) for each in (blocks, *more))}."
            )
        if residual_after >= len(blocks):
            raise UnsupportedModel(
                f"residual_after is {residual_after}, but the body of {family.name} has {len(blocks)} blocks: "
                f"at least one must be left to skip."
            )
        self.family = family
        self._residual_after = residual_after
        self._entries = [entries_of(block, index, stage, family) for index, (stage, block) in enumerate(blocks)]
        for name, entry in self._entries[0].items():
            check_block(blocks[0][1], name, entry.signature, family)
        self._blocks = [weakref.ref(block) for each in (blocks, *more) for _, block in each]
        self.compiled_blocks = CompiledBlocks(family.looked_at, family.numbered) if compile_blocks else None
        self.dtypes: Dtypes | None = None  # from one run to the next
        self._phase: _Phase | None = None
        self._undo = contextlib.ExitStack()

    def install(self) -> None:
        """Swap the blocks' methods. Those that mflux has freed are none of our business."""
        for place, reference in enumerate(self._blocks):
            if (block := reference()) is not None:
                self._undo.callback(swaps.methods(block, self._gates(self._entries[place % len(self._entries)])))

    def restore(self) -> None:
        """Give the blocks their classes back."""
        self._undo.close()

    def end_image(self) -> None:
        """The denoising loop is over."""
        if self.compiled_blocks is not None:
            self.compiled_blocks.end_image()

    def probe(self, forward: Callable[[], Any], *, first_block: bool = False, carry: Carry | None = None) -> Probe:
        """Run ``forward`` up to block 0 of its first branch.

        Args:
            first_block: run block 0 too.
            carry: from an earlier probe of the same forward, which did not.
        """
        phase = ProbePhase(self.family, first_block, carry)
        with self._in(phase), contextlib.suppress(Stopped):
            forward()
        if phase.found is None:
            raise UnsupportedModel(f"the transformer ran without calling block 0 of its body ({self.family.name}).")
        return phase.found

    def run(
        self, forward: Callable[[], Any], residuals: Sequence[mx.array | None], carry: Carry | None
    ) -> tuple[Any, list[Branch]]:
        """Run ``forward``; branch i reuses ``residuals[i]`` if it fits and the family lets it, and computes otherwise.

        Args:
            carry: from the probe of the same forward, if there was one.

        Returns what ``forward`` returns, and its branches in the order of their calls.
        """
        return self._through(forward, RunPhase(self.family, self._residual_after, residuals, carry, self.dtypes))

    def run_deciding(self, forward: Callable[[], Any], decide: Decide) -> tuple[Any, list[Branch]]:
        """As ``run``, but the residuals are decided on the way, where block 0 of the first branch is called.

        Nothing that comes before the body is built or evaluated twice. Not for a compiled forward: Python does not
        run in its middle.
        """
        return self._through(forward, DecidingPhase(self.family, self._residual_after, decide, self.dtypes))

    def _through(self, forward: Callable[[], Any], phase: RunPhase) -> tuple[Any, list[Branch]]:
        with self._in(phase):
            result = forward()
        phase.end_branch()
        self.dtypes = phase.dtypes
        return result, phase.branches

    @property
    def busy(self) -> bool:
        """A phase is on: the transformer is being called on our behalf."""
        return self._phase is not None

    def evaluate(self, *arrays: Any) -> None:
        """``mx.eval`` for a forward that evaluates work beside the body, such as a ControlNet's blocks."""
        (mx.eval if self._phase is None else self._phase.evaluate)(*arrays)

    @contextlib.contextmanager
    def _in(self, phase: _Phase) -> Iterator[None]:
        self._phase = phase
        try:
            yield
        finally:
            self._phase = None

    def _gates(self, entries: Mapping[str, Entry]) -> dict[str, Callable[..., Any]]:
        """A block's methods in its subclass."""
        return {name: self._gate(entry) for name, entry in entries.items()}

    def _gate(self, entry: Entry) -> Callable[..., Any]:
        def call(block: Any, *args: Any, **kwargs: Any) -> Any:
            if self._phase is None:
                return entry.forward(block, *args, **kwargs)
            return self._phase.at(BlockCall(entry, self.family, self.compiled_blocks, block, args, kwargs))

        return call
