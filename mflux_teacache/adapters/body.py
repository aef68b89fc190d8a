"""The seam: a transformer whose body can be probed, computed or reused, with no line of its forward copied.

Each block of the body changes its ``__class__`` for a subclass. While a phase is on, the subclass asks the
phase what to do; without one, and after ``restore()``, the model runs as mflux wrote it. The phases:

* probe: stop at block 0 with its inputs. What comes later in the forward is never built.
* run: per guidance branch, compute the body and note its input and output, or let its blocks return
  ``input + residual`` whatever they are called with. MLX is lazy, so what is passed by is never evaluated.

Arrays that mflux's forward may change in place (``+=`` in FLUX.1 with ControlNet) are copied where they are
kept or handed out.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import mlx.core as mx

from mflux_teacache.adapters.compiled_blocks import CompiledBlocks
from mflux_teacache.adapters.entry_check import Given, changed, check_block
from mflux_teacache.adapters.family import Dual, Family, Joint
from mflux_teacache.adapters.signatures import bind_all, of_method
from mflux_teacache.errors import UnsupportedModel


class Streams(NamedTuple):
    """Image part and text part of what enters or leaves a block."""

    image: mx.array
    text: mx.array | None = None

    def copy(self) -> Streams:
        return Streams(_own(self.image), None if self.text is None else _own(self.text))


class Probe(NamedTuple):
    """What is known at block 0 of a step's first branch. Nothing is evaluated, and most of it never will be.

    Attributes:
        entry: what enters block 0.
        first, first_block_residual: what it returns, and adds to the image; if it was asked for.
    """

    entry: Streams
    modulated_input: mx.array
    first: Streams | None = None
    first_block_residual: mx.array | None = None

    def carry(self) -> Carry:
        """What the run takes over: nothing that the probe evaluated is evaluated again.

        Block 0's output only if it was read. A compiled run fuses across block 0 as mflux's own does, and
        rounds alike, if block 0 is part of it.
        """
        return Carry(self.entry, self.first)


class Carry(NamedTuple):
    """Streams before and, where they are known, after block 0 of a step's first branch."""

    entry: Streams
    first: Streams | None


class Branch(NamedTuple):
    """One guidance branch of a run: the image streams, and whether the body was passed by, or could not have been."""

    input: mx.array
    output: mx.array
    reused: bool
    in_full: bool = False


class _Stopped(Exception):
    """Leaves the forward at block 0 while probing."""


class _Phase(Protocol):
    def at(self, call: _Call) -> Any: ...

    @property
    def computes(self) -> bool:
        """The branch that runs, or is about to begin, calls its blocks in earnest."""


class _Entry(NamedTuple):
    """A method by which mflux's forward enters a block."""

    forward: Callable[..., Any]
    signature: inspect.Signature


def _own(array: mx.array) -> mx.array:
    """The same values as another Python object: MLX's ``+=`` changes the object that it is applied to."""
    return array[...]


def _apart(value: Any) -> Any:
    """The same array as another node of the graph, which ``mx.compile`` cannot merge with the first.

    A signal repeats what block 0 does to its arguments. MLX 0.32 fails with ``_Map_base::at`` when it merges two
    equal ``split`` of a sum, such as a modulation with an added bias or a LoRA.
    """
    return mx.depends([value], [value])[0] if isinstance(value, mx.array) else value


class _Call:
    """One call of one block by mflux's forward."""

    def __init__(
        self, body: Body, index: int, entry: _Entry, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.index = index
        self.block = block
        self.stage = body.stage(index)
        self._family = body.family
        self._forward, self._signature = entry
        self._compiled = body.compiled_blocks
        self._args = args
        self._kwargs = kwargs

    def run(self) -> Any:
        if self._compiled is not None:
            return self._compiled.call(self._forward, self.block, self.arguments)
        return self._forward(self.block, *self._args, **self._kwargs)

    def run_on(self, streams: Streams) -> Any:
        """As mflux called it, but on these streams."""
        if self._compiled is not None:
            return self._compiled.call(self._forward, self.block, self.arguments_on(streams))
        return self._forward(self.block, **self.arguments_on(streams))

    def arguments_on(self, streams: Streams) -> dict[str, Any]:
        """By name, with these streams in the place of mflux's."""
        if isinstance(self.stage, Dual):
            return {**self.arguments, self.stage.image: streams.image, self.stage.text: streams.text}
        return {**self.arguments, self.stage.stream: self.join(streams)}

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """By name, without the block itself."""
        return bind_all(self._signature, self._args, self._kwargs)

    def given(self, arguments: Mapping[str, Any]) -> Given:
        """Arguments of this call for the family's functions."""
        return Given(arguments, f"{type(self.block).__name__} in {self.stage.blocks!r}", self._family)

    def image_rows(self) -> int | None:
        """Rows of the image in the body's first list; ``None``: its one stream is all image."""
        if isinstance(self.stage, Dual) or self.stage.image_rows is None:
            return None
        return self.stage.image_rows(self.given(self.arguments))

    def streams(self, image_rows: int | None) -> Streams:
        """What enters the block."""
        if isinstance(self.stage, Dual):
            return Streams(self.arguments[self.stage.image], self.arguments[self.stage.text])
        return _split(self.arguments[self.stage.stream], image_rows, self.stage)

    def returned_streams(self, returned: Any) -> tuple[mx.array, ...]:
        """What the block returned, without what is no stream."""
        if isinstance(self.stage, Dual):
            return tuple(returned)
        return (returned[0] if self.stage.returns_more else returned,)

    def unpack(self, streams: tuple[mx.array, ...], image_rows: int | None) -> Streams:
        """Image part and text part of what the block returned."""
        if isinstance(self.stage, Dual):
            first, second = streams
            return Streams(first, second) if self.stage.image_first else Streams(second, first)
        return _split(streams[0], image_rows, self.stage)

    def pack(self, streams: Streams) -> Any:
        """Streams as the block would return them."""
        if isinstance(self.stage, Dual):
            return (streams.image, streams.text) if self.stage.image_first else (streams.text, streams.image)
        stream = self.join(streams)
        return (stream, *(None,) * self.stage.returns_more) if self.stage.returns_more else stream

    def join(self, streams: Streams) -> mx.array:
        """Streams as the block's one stream."""
        if streams.text is None:
            return streams.image
        rows = [streams.text, streams.image]
        return mx.concatenate(rows[::-1] if self.stage.image_first else rows, axis=1)


def _split(stream: mx.array, image_rows: int | None, stage: Joint) -> Streams:
    rows = stream.shape[1]
    if image_rows is None or image_rows == rows:
        return Streams(stream, None)
    if stage.image_first:
        return Streams(stream[:, :image_rows], stream[:, image_rows:])
    return Streams(stream[:, rows - image_rows :], stream[:, : rows - image_rows])


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
        blocks, *more = (_body_blocks(each, family) for each in (transformer, *others))
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
        self.residual_after = residual_after
        self._stages = [(stage, _entries(block, stage, family)) for stage, block in blocks]
        for name, entry in self._stages[0][1].items():
            check_block(blocks[0][1], name, entry.signature, family)
        self._blocks = [weakref.ref(block) for each in (blocks, *more) for _, block in each]
        self.compiled_blocks = CompiledBlocks(family.looked_at) if compile_blocks else None
        self.stream_dtype: mx.Dtype | None = None  # of the image stream when it was last computed
        self._phase: _Phase | None = None

    def stage(self, index: int) -> Dual | Joint:
        """The list that the body's block of this index is in."""
        return self._stages[index][0]

    def install(self) -> None:
        """Swap the blocks' classes; parameters, isinstance and class names stay as they are."""
        for place, reference in enumerate(self._blocks):
            if (block := reference()) is not None:
                block.__class__ = subclass(type(block), self._gates(place % len(self._stages)))

    def restore(self) -> None:
        """Give the blocks their classes back. Blocks that mflux has freed are none of our business any more."""
        for reference in self._blocks:
            if (block := reference()) is not None:
                block.__class__ = type(block).__mro__[1]

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
        phase = _Probing(self, first_block, carry)
        with self._in(phase), contextlib.suppress(_Stopped):
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
        phase = _Running(self, residuals, carry)
        with self._in(phase):
            result = forward()
        phase.end_branch()
        return result, phase.branches

    @property
    def busy(self) -> bool:
        """A phase is on: the transformer is being called on our behalf."""
        return self._phase is not None

    def evaluate(self, *arrays: Any) -> None:
        """``mx.eval`` for a forward that evaluates work beside the body, such as a ControlNet's blocks.

        A probe and a skipped branch do not evaluate it: what they need of it, if anything, is evaluated with their
        results.
        """
        if self._phase is None or self._phase.computes:
            mx.eval(*arrays)

    @contextlib.contextmanager
    def _in(self, phase: _Phase) -> Iterator[None]:
        self._phase = phase
        try:
            yield
        finally:
            self._phase = None

    def _gates(self, index: int) -> dict[str, Callable[..., Any]]:
        """A block's methods in its subclass."""
        return {name: self._gate(index, entry) for name, entry in self._stages[index][1].items()}

    def _gate(self, index: int, entry: _Entry) -> Callable[..., Any]:
        def call(block: Any, *args: Any, **kwargs: Any) -> Any:
            if self._phase is None:
                return entry.forward(block, *args, **kwargs)
            return self._phase.at(_Call(self, index, entry, block, args, kwargs))

        return call


def subclass(cls: type, methods: Mapping[str, Callable[..., Any]]) -> type:
    """A subclass that differs in these methods only and looks like the class itself in names and reprs."""
    return type(cls.__name__, (cls,), {**methods, "__module__": cls.__module__, "__qualname__": cls.__qualname__})


@dataclass(slots=True)
class _Probing:
    body: Body
    first_block: bool
    carry: Carry | None
    found: Probe | None = None
    computes = False

    def at(self, call: _Call) -> Any:
        image_rows = call.image_rows()
        entry = self.carry.entry if self.carry else call.streams(image_rows).copy()
        signal = self._signal(call, call.arguments_on(entry) if self.carry else call.arguments, image_rows)
        self.found = Probe(entry, signal)
        if self.first_block:
            returned = call.run_on(entry.copy()) if self.carry else call.run()
            first = call.unpack(call.returned_streams(returned), image_rows).copy()
            self.found = Probe(entry, signal, first, first.image - entry.image)
        raise _Stopped

    def _signal(self, call: _Call, arguments: Mapping[str, Any], image_rows: int | None) -> mx.array:
        given = call.given({name: _apart(value) for name, value in arguments.items()})
        signal = self.body.family.modulated_input(call.block, given)
        return _split(signal, image_rows, call.stage).image if isinstance(call.stage, Joint) else signal


class _Running:
    """Several guidance branches, one after the other.

    A branch may leave blocks out, the first or the last one too. So it begins where the index of the called block
    does not grow, which is right as long as the branch before it has called a block of that index or a later one;
    and its last call is known only afterwards, so each skipped call returns what the whole body returns.
    """

    def __init__(self, body: Body, residuals: Sequence[mx.array | None], carry: Carry | None) -> None:
        self.branches: list[Branch] = []
        self._body = body
        self._residuals = residuals
        self._carry = carry
        self._index: int | None = None  # of the last called block
        self._reused: Streams | None = None  # what the body returns, from its first skipped call on

    def at(self, call: _Call) -> Any:
        begins = self._index is None or call.index <= self._index
        if begins:
            self.end_branch()
            self._begin(call)
        self._index = call.index
        if self._residual is not None and call.index >= self._body.residual_after:
            return self._skip(call)
        return self._compute(call, begins)

    @property
    def computes(self) -> bool:
        return (self._given() if self._index is None else self._residual) is None

    def _given(self) -> mx.array | None:
        """The residual for the next branch."""
        place = len(self.branches)
        return self._residuals[place] if place < len(self._residuals) else None

    def _begin(self, call: _Call) -> None:
        entry = self._carry.entry if self._carry else call.streams(call.image_rows()).copy()
        residual = self._given()
        self._in_full = self._body.family.must_compute(call.given(call.arguments))
        fits = residual is not None and not self._in_full and self._fits(residual, entry.image)
        self._residual = residual if fits else None
        if self._in_full and self._carry:  # block 0 as well, which leaves more behind than its streams
            self._carry = Carry(self._carry.entry, None)
        self._base = entry  # what the residual is added to
        self._image_rows = entry.image.shape[1]

    def _fits(self, residual: mx.array, stream: mx.array) -> bool:
        """A stream of another size or type than the residual was made in must compute."""
        return residual.shape == stream.shape and self._body.stream_dtype == stream.dtype

    def _skip(self, call: _Call) -> Any:
        if self._reused is None:
            assert self._residual is not None
            self._reused = self._base._replace(image=self._base.image + self._residual)
        if self._reused.text is None:  # the first list may have the image's rows alone
            self._reused = self._reused._replace(text=call.streams(self._image_rows).text)
        return call.pack(self._reused.copy())

    def _compute(self, call: _Call, begins: bool) -> Any:
        returned = self._first(call) if begins else call.run()
        # Taken apart only where it is needed: most of a body's blocks are neither its last nor its first.
        self._last = call, tuple(map(_own, call.returned_streams(returned)))
        if call.index < self._body.residual_after:
            self._base = self._computed()
        return returned

    def _computed(self) -> Streams:
        """What the last computed block returned."""
        call, returned = self._last
        return call.unpack(returned, self._image_rows)

    def _first(self, call: _Call) -> Any:
        """The branch's first block: from where the probe left it."""
        if self._carry is None:
            return call.run()
        if self._carry.first is None:
            return call.run_on(self._carry.entry.copy())
        return call.pack(self._carry.first.copy())

    def end_branch(self) -> None:
        """The forward is over, or another branch begins."""
        if self._index is None:
            return
        if self._reused is None:
            self._body.stream_dtype = self._base.image.dtype
            self.branches.append(Branch(self._base.image, self._computed().image, reused=False, in_full=self._in_full))
        else:
            self.branches.append(Branch(self._base.image, _own(self._reused.image), reused=True))
        self._reused = self._carry = None  # what the probe left belongs to the first branch


def _body_blocks(transformer: Any, family: Family) -> list[tuple[Dual | Joint, Any]]:
    return [(stage, block) for stage in family.body for block in _blocks(transformer, stage, family)]


def _member(owner: Any, name: str) -> Any:
    # Not isinstance: an mlx module is a dict too.
    return owner.get(name) if type(owner) is dict else getattr(owner, name, None)


def _blocks(transformer: Any, stage: Dual | Joint, family: Family) -> list[Any]:
    blocks = functools.reduce(_member, stage.blocks.split("."), transformer)
    if not isinstance(blocks, list) or not blocks:
        raise changed(f"{type(transformer).__name__} has no block list {stage.blocks!r}", family)
    return blocks


def _entries(block: Any, stage: Dual | Joint, family: Family) -> dict[str, _Entry]:
    entries = {name: _entry(block, name, stage, family) for name in stage.methods if hasattr(type(block), name)}
    if not entries:
        methods = " or ".join(map(repr, stage.methods))
        raise changed(f"{type(block).__name__} in {stage.blocks!r} has no method {methods}", family)
    return entries


def _entry(block: Any, method: str, stage: Dual | Joint, family: Family) -> _Entry:
    where = type(block).__name__ if method == "__call__" else f"{type(block).__name__}.{method}"
    forward = getattr(type(block), method)
    signature = of_method(type(block), method)
    needed = (stage.image, stage.text) if isinstance(stage, Dual) else (stage.stream,)
    if missing := [name for name in needed if name not in signature.parameters]:
        has = ", ".join(signature.parameters)
        raise changed(f"{where} in {stage.blocks!r} has no argument {missing[0]!r} (it has {has})", family)
    return _Entry(forward, signature)
