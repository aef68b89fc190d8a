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

from mflux_teacache.adapters.block_call import BlockCall
from mflux_teacache.adapters.body_blocks import Entry, blocks_of, entries_of
from mflux_teacache.adapters.compiled_blocks import CompiledBlocks
from mflux_teacache.adapters.deciding_phase import Decide, DecidingPhase, Pause
from mflux_teacache.adapters.entry_check import check_block
from mflux_teacache.adapters.family import Dual, Family, Joint
from mflux_teacache.adapters.here import Here
from mflux_teacache.adapters.probe_phase import Carry, Probe, ProbePhase, Stopped
from mflux_teacache.adapters.run_phase import Branch, Dtypes, RunPhase
from mflux_teacache.adapters.swaps import Swaps, subclass
from mflux_teacache.errors import AlreadyAttached, UnsupportedModel

_BODY = "_mflux_plugins_body"  # on the class of a block, while it asks this body's phases


class Phase(Protocol):
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

    Attributes:
        here: what each thread is in the middle of. Blocks ask the phase of their own thread.
        installed: its blocks ask it.

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
        self.here = Here()
        self.installed = False
        self.compiled_blocks = CompiledBlocks(family.looked_at, family.numbered) if compile_blocks else None
        self._residual_after = residual_after
        self._length = len(blocks)
        self._transformers = [weakref.ref(each) for each in (transformer, *others)]
        self._swaps = Swaps()
        stage, first = blocks[0]
        for name, entry in entries_of(type(first), 0, stage, family).items():
            check_block(first, name, entry.signature, family)

    def install(self) -> None:
        """Let the blocks ask the phases: all of them at first, and later those that have taken another's place.

        Raises:
            UnsupportedModel: a block lacks what the family's entry names, or there are more or fewer than before.
            AlreadyAttached: a block is another attached model's as well.
        """
        for reference in self._transformers:
            if (transformer := reference()) is None:
                continue  # freed by mflux's memory saver
            blocks = blocks_of(transformer, self.family)
            if len(blocks) != self._length:
                raise UnsupportedModel(
                    f"{type(transformer).__name__} had {self._length} blocks when plugins were attached to it, and now "
                    f"it has {len(blocks)}. Attach again."
                )
            for place, (stage, block) in enumerate(blocks):
                asked = getattr(type(block), _BODY, None)
                if asked is not self:
                    if asked is not None and asked.installed:
                        raise AlreadyAttached(
                            f"another model that plugins are attached to shares block {place} of this one "
                            f"({type(block).__name__}). Call restore() on that model's handle first, which "
                            f"mflux_teacache.attached(model) returns."
                        )
                    self._swaps.swap(block, self._asking(block, place, stage))
        self.installed = True

    def restore(self) -> None:
        """Give the blocks their classes back."""
        self._swaps.undo()
        self.installed = False

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
        self,
        forward: Callable[[], Any],
        residuals: Sequence[mx.array | None],
        carry: Carry | None,
        dtypes: Dtypes | None = None,
    ) -> tuple[Any, list[Branch]]:
        """Run ``forward``; branch i reuses ``residuals[i]`` if it fits and the family lets it, and computes otherwise.

        Args:
            carry: from the probe of the same forward, if there was one.
            dtypes: of the stream that the residuals were made in; ``None`` = whichever there is now.

        Returns what ``forward`` returns, and its branches in the order of their calls.
        """
        return self._through(forward, RunPhase(self.family, self._residual_after, residuals, carry, dtypes))

    def run_deciding(
        self, forward: Callable[[], Any], decide: Decide, dtypes: Dtypes | None = None
    ) -> tuple[Any, list[Branch]]:
        """As ``run``, but the residuals are decided on the way, where block 0 of the first branch is called.

        Nothing that comes before the body is built or evaluated twice. Not for a compiled forward: Python does not
        run in its middle.
        """

        def decide_aside(pause: Pause) -> Sequence[mx.array | None]:
            with self.here.aside():
                return decide(pause)

        return self._through(forward, DecidingPhase(self.family, self._residual_after, decide_aside, dtypes))

    def _through(self, forward: Callable[[], Any], phase: RunPhase) -> tuple[Any, list[Branch]]:
        with self._in(phase):
            result = forward()
        phase.end_branch()
        return result, phase.branches

    def evaluate(self, *arrays: Any) -> None:
        """``mx.eval`` for a forward that evaluates work beside the body, such as a ControlNet's blocks."""
        phase = self.here.phase
        (mx.eval if phase is None else phase.evaluate)(*arrays)

    @contextlib.contextmanager
    def _in(self, phase: Phase) -> Iterator[None]:
        before, self.here.phase = self.here.phase, phase
        try:
            yield
        finally:
            self.here.phase = before

    def _asking(self, block: Any, place: int, stage: Dual | Joint) -> type:
        """The subclass of a block's class whose methods ask the phase: once, also if two threads come here at once."""
        theirs = next(cls for cls in type(block).__mro__ if vars(cls).get(_BODY) is not self)
        entries = entries_of(theirs, place, stage, self.family)
        return subclass(theirs, {_BODY: self, **self._gates(entries)})

    def _gates(self, entries: Mapping[str, Entry]) -> dict[str, Callable[..., Any]]:
        """A block's methods in its subclass."""
        return {name: self._gate(entry) for name, entry in entries.items()}

    def _gate(self, entry: Entry) -> Callable[..., Any]:
        def call(block: Any, *args: Any, **kwargs: Any) -> Any:
            phase = self.here.phase
            if phase is None:
                return entry.forward(block, *args, **kwargs)
            return phase.at(BlockCall(entry, self.family, self.compiled_blocks, block, args, kwargs))

        return call
