"""How mflux's forward runs while an image is made: each call of a block asks what happens in its place.

The forward runs through. It pauses where it calls block 0 for its first guidance branch, until it is decided what is
reused. From there each branch computes its body, and its input and output are noted; or its blocks return
``input + residual``, and zeros for text, whatever they are called with; or it leaves the transformer at block 0, which
returns the output that is reused. MLX is lazy, so what is passed by is never evaluated.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import Signature
from typing import Any

import mlx.core as mx

from mflux_teacache.adapters.entry_check import Entry, Given, flat, takes_any
from mflux_teacache.adapters.seam.compiled_blocks import CompiledBlocks
from mflux_teacache.adapters.seam.values import Carry, Made, Probe, Streams, own
from mflux_teacache.errors import UnsupportedModel
from mflux_teacache.family import Dual, Family, Joint
from mflux_teacache.forward import Ran, Reuse


def copied(streams: Streams) -> Streams:
    """The same streams, which ``+=`` in mflux's forward does not reach."""
    return Streams(own(streams.image), None if streams.text is None else own(streams.text))


@dataclass(eq=False)
class BlockCall:
    """A call of a block by mflux's forward that has not been made yet.

    Attributes:
        entry: what is called of the block.
        compiled: calls the block compiled on its own; ``None`` = as mflux does.
    """

    entry: Entry
    compiled: CompiledBlocks | None
    block: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> Any:
        if self.compiled is not None:
            return self.compiled.call(self.entry.forward, self.block, self.arguments)
        return self.entry.forward(self.block, *self.args, **self.kwargs)

    def on(self, streams: Streams) -> BlockCall:
        """The same call, with these streams in the place of mflux's."""
        named = dict(zip(self.entry.streams, self._together(streams), strict=True))
        return BlockCall(self.entry, self.compiled, self.block, (), {**self.arguments, **named})

    @cached_property
    def arguments(self) -> Given:
        """By name, without the block itself."""
        return self.entry.given(by_name(self.entry.signature, self.entry.takes_any, self.args, self.kwargs))

    def image_rows(self) -> int | None:
        """Rows of the image in the body's first list; ``None``: its one stream is all image."""
        if isinstance(self.entry.stage, Dual) or self.entry.stage.image_rows is None:
            return None
        return self.entry.stage.image_rows(self.arguments)

    def streams(self, image_rows: int | None) -> Streams:
        """What enters the block."""
        return self.unpack([self.arguments[name] for name in self.entry.streams], image_rows)

    def returned_streams(self, returned: Any) -> Sequence[mx.array]:
        """What the block returned, without what is no stream."""
        stage = self.entry.stage
        return tuple(returned) if isinstance(stage, Dual) else (returned[0] if stage.returns_more else returned,)

    def unpack(self, arrays: Sequence[mx.array], image_rows: int | None) -> Streams:
        """Image part and text part of what the block was given or has returned, in the order of ``Entry.streams``."""
        stage = self.entry.stage
        if isinstance(stage, Dual):
            return Streams(*(arrays if stage.image_first else reversed(arrays)))
        [stream] = arrays
        rows = stream.shape[1]
        if image_rows is None or image_rows == rows:
            return Streams(stream)
        if stage.image_first:
            return Streams(stream[:, :image_rows], stream[:, image_rows:])
        return Streams(stream[:, rows - image_rows :], stream[:, : rows - image_rows])

    def pack(self, streams: Streams) -> Any:
        """Streams as the block would return them."""
        arrays, stage = self._together(streams), self.entry.stage
        if isinstance(stage, Dual):
            return arrays
        return (*arrays, *(None,) * stage.returns_more) if stage.returns_more else arrays[0]

    def _together(self, streams: Streams) -> tuple[Any, ...]:
        """The inverse of ``unpack``."""
        parts: Sequence[Any] = streams if self.entry.stage.image_first else streams[::-1]
        if isinstance(self.entry.stage, Dual):
            return tuple(parts)
        return (streams.image if streams.text is None else mx.concatenate([*parts], axis=1),)


class Pause:
    """Block 0 of a step's first branch, which mflux has called and which has not run yet.

    It can be probed as long as it is kept, for it has copies of what mflux's forward may change in place.

    Args:
        entry: what enters the block; ``None`` = what mflux calls it with.
    """

    def __init__(self, call: BlockCall, family: Family, entry: Streams | None = None) -> None:
        # ``None`` rows: the stream is copied whole, with its text, as the block is to be given it.
        self._call = call.on(copied(entry or call.streams(None)))
        self._family = family
        self._image_rows = call.image_rows()
        self._entry = entry
        self._found: Probe | None = None

    def probe(self, *, first_block: bool) -> Probe:
        """What block 0 tells; with ``first_block`` also what comes of running it."""
        if self._found is None:
            entry = self._entry or copied(self._call.streams(self._image_rows))
            self._found = Probe(Carry(entry), self._modulated_input())
        if first_block and self._found.carry.first is None:
            entry = self._found.carry.entry
            first = copied(self._call.unpack(self._call.returned_streams(self._call.run()), self._image_rows))
            self._found = Probe(Carry(entry, first), self._found.modulated_input, first.image - entry.image)
        return self._found

    def _modulated_input(self) -> mx.array:
        call = self._call
        given = call.entry.given({name: _apart(value) for name, value in call.arguments.items()})
        signal = self._family.modulated_input(call.block, given)
        return call.unpack([signal], self._image_rows).image if isinstance(call.entry.stage, Joint) else signal

    def carry(self) -> Carry | None:
        """What the run need not compute any more: block 0, if its output was read."""
        return None if self._found is None or self._found.carry.first is None else self._found.carry


def _apart(value: Any) -> Any:
    """The same array as another node of the graph, which ``mx.compile`` cannot merge with the first.

    A signal repeats what block 0 does to its arguments. MLX 0.32 fails with ``_Map_base::at`` when it merges two
    equal ``split`` of a sum, such as a modulation with an added bias or a LoRA.
    """
    return mx.depends([value], [value])[0] if isinstance(value, mx.array) else value


Decide = Callable[[Pause], Reuse]


@dataclass(eq=False)
class _Left(Exception):
    """Leaves the transformer, which then returns ``output``: mflux's code after block 0 has no other exit."""

    output: mx.array


class Run:
    """mflux's forward runs through, one guidance branch after the other.

    A branch may leave blocks out, the first or the last one too. So it begins where the index of the called block
    does not grow, which is right as long as the branch before it has called a block of that index or a later one;
    and its last call is known only afterwards, so each skipped call returns what the whole body returns.

    Args:
        residual_after: how many first blocks run in every branch.
        decide: is called once, at block 0 of the first branch. Branch i reuses the i-th array that it returns, if that
            fits.
        carry: of the first branch, from a probe; ``None`` = what was probed in the pause.
        made: when the prediction was last computed; ``None`` = a residual may be of whichever dtype the stream has now,
            and no output can be reused.

    Attributes:
        branches: those that have ended, in the order of their calls.
    """

    def __init__(
        self, family: Family, residual_after: int, decide: Decide, carry: Carry | None, made: Made | None
    ) -> None:
        self.branches: list[Ran] = []
        self._family = family
        self._residual_after = residual_after
        self._decide: Decide | None = decide
        self._carry = carry
        self._made = made
        self._reuse = Reuse()
        self._postponed: list[tuple[Any, ...]] = []
        self._index: int | None = None  # of the last called block
        self._reused: Streams | None = None  # what the body returns, from its first skipped call on
        self._model_output: mx.array | None = None  # of the branch that has just ended

    def through(self, transformer: Callable[[], Any]) -> Any:
        """A call of the transformer, which runs one branch."""
        try:
            returned = transformer()
        except _Left as left:
            returned = self._leave(left.output)
        self._model_output = own(returned) if isinstance(returned, mx.array) else None
        return returned

    def at(self, call: BlockCall) -> Any:
        """What happens in the place of the call."""
        if self._decide is not None:
            pause = Pause(call, self._family)
            self._reuse = self._decide(pause)
            self._carry = self._carry or pause.carry()
            self._decide = None
        begins = self._index is None or call.entry.place <= self._index
        if begins:
            # In this order: which array a branch is to reuse is counted by the branches that have ended.
            self.end_branch()
            self._begin(call)
        self._index = call.entry.place
        skips = self._residual is not None and call.entry.place >= self._residual_after
        returned = self._skip(call) if skips else self._compute(call, begins)
        while self._postponed:
            self.evaluate(*self._postponed.pop(0))
        return returned

    def evaluate(self, *arrays: Any) -> None:
        """``mx.eval``, if the branch that runs, or is about to begin, computes.

        What a skipped branch needs of it, if anything, is evaluated with its result.
        """
        if self._decide is not None:  # whether the branch will compute is not known yet
            self._postponed.append(arrays)
        elif (self._given() if self._index is None else self._residual) is None:
            mx.eval(*arrays)

    def _given(self) -> mx.array | None:
        """What the next branch is to reuse."""
        place = len(self.branches)
        return self._reuse.arrays[place] if place < len(self._reuse.arrays) else None

    def _begin(self, call: BlockCall) -> None:
        entry = self._carry.entry if self._carry else copied(call.streams(call.image_rows()))
        must = self._family.must_compute
        self._in_full = must is not None and must(call.arguments)
        reused = self._fitting(entry.image)
        if reused is not None and self._reuse.at_output:
            raise _Left(reused)
        self._residual = reused
        if self._in_full and self._carry:  # block 0 as well, which leaves more behind than its streams
            self._carry = Carry(self._carry.entry)
        self._base = entry  # what the residual is added to
        self._image_rows = entry.image.shape[1]

    def _fitting(self, stream: mx.array) -> mx.array | None:
        """What the branch reuses; ``None`` where it has nothing that fits, or must compute.

        A residual fits a stream of the size and type that it was made in. An output fits if the transformer's last one
        had its shape, and is returned in that one's dtype.
        """
        given, made = self._given(), self._made
        if self._in_full or given is None:
            return None
        if self._reuse.at_output:
            if made is None or made.dtype is None or made.shape != given.shape:
                return None
            return given.astype(made.dtype)
        fits = given.shape == stream.shape and (made is None or made.input == stream.dtype)
        return given if fits else None

    def _leave(self, output: mx.array) -> mx.array:
        """The branch is over without its body."""
        # Noted at once: with no index no branch is open, so ``end_branch`` will not note it again, and whichever block
        # is called next begins the next branch.
        self.branches.append(Ran(None, None, reused=True, model_output=output))
        self._index = self._carry = None
        self._postponed.clear()  # nothing of it is needed
        return own(output)

    def _skip(self, call: BlockCall) -> Any:
        if self._reused is None:
            assert self._residual is not None
            # A residual that a plugin keeps in a wider dtype must not widen what comes after the body.
            dtype = self._base.image.dtype if self._made is None else self._made.output
            image = (self._base.image + self._residual).astype(dtype)
            self._reused = Streams(image, blank(self._base.text))
        if self._reused.text is None:  # the first list may have the image's rows alone
            self._reused = self._reused._replace(text=blank(call.streams(self._image_rows).text))
        return call.pack(copied(self._reused))  # anew for each call: what mflux adds in place must not add up

    def _compute(self, call: BlockCall, begins: bool) -> Any:
        returned = self._first(call) if begins else call.run()
        # Any block may turn out to be the branch's last. What it returned is taken apart only where it is needed: most
        # of a body's blocks are neither its last nor its first.
        self._last = call, tuple(map(own, call.returned_streams(returned)))
        if call.entry.place < self._residual_after:
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
            return call.on(copied(self._carry.entry)).run()
        return call.pack(copied(self._carry.first))

    def end_branch(self) -> None:
        """The forward is over, or another branch begins."""
        if self._index is None:
            return
        reused = self._reused
        output = self._computed().image if reused is None else own(reused.image)
        self.branches.append(Ran(self._base.image, output, reused is not None, self._in_full, self._model_output))
        # What the probe left belongs to the first branch.
        self._reused = self._carry = self._model_output = None


def blank(text: mx.array | None) -> mx.array | None:
    """Zeros in the place of text. Nothing after a body reads it, so nothing of it need be evaluated."""
    return None if text is None else mx.zeros_like(text)


class Here(threading.local):
    """What each thread is in the middle of, on one attached model.

    Attributes:
        call: the ``generate_image`` that is under way.
        image: the image whose denoising loop is running.
        run: what the blocks ask while the transformer is called on our behalf.
    """

    call: Any = None
    image: Any = None
    run: Run | None = None

    @contextlib.contextmanager
    def running(self, run: Run) -> Iterator[None]:
        """For as long as the forward runs."""
        before, self.run = self.run, run
        try:
            yield
        finally:
            self.run = before


def gate(here: Here, entry: Entry, compiled: CompiledBlocks | None) -> Callable[..., Any]:
    """A block's method that asks the run of its thread. Without one it is mflux's own."""

    def call(block: Any, *args: Any, **kwargs: Any) -> Any:
        if (run := here.run) is None:
            return entry.forward(block, *args, **kwargs)
        return run.at(BlockCall(entry, compiled, block, args, kwargs))

    return call


def calling(here: Here, forward: Callable[..., Any], named: Signature, unseen: str | None) -> Callable[..., Any]:
    """A ``__call__`` of a transformer, or of what runs its blocks in its stead, that asks the image of its thread.

    Args:
        forward, named: mflux's, and its signature without ``self``.
        unseen: what is wrong, if the pipeline has a predict function that should have been called instead.
    """
    open_ended = takes_any(named)
    run = through(here, forward)

    def __call__(module: Any, *args: Any, **kwargs: Any) -> Any:
        # An image that does not wait is being answered: its predict function calls the transformer.
        image = here.image
        if image is None or not image.is_waiting:
            return run(module, *args, **kwargs)
        if unseen is not None:
            raise UnsupportedModel(unseen)
        return image.run(partial(run, module), by_name(named, open_ended, args, kwargs))

    return __call__


def through(here: Here, forward: Callable[..., Any]) -> Callable[..., Any]:
    """What runs one branch, so that a run may leave it. Without a run it is mflux's own."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if here.run is None:
            return forward(*args, **kwargs)
        return here.run.through(partial(forward, *args, **kwargs))

    return call


def by_name(signature: Signature, open_ended: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call, with defaults. Of an ``open_ended`` one further keywords are arguments like others."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return flat(bound) if open_ended else bound.arguments
