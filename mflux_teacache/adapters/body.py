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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import mlx.core as mx

from mflux_teacache.adapters.entry_check import Given, changed, check_block
from mflux_teacache.adapters.family import Dual, Family, Joint
from mflux_teacache.errors import UnsupportedModel


class Streams(NamedTuple):
    """Image part and text part of what enters or leaves a block."""

    image: mx.array
    text: mx.array | None = None

    def copy(self) -> Streams:
        return Streams(_own(self.image), None if self.text is None else _own(self.text))


class Probe(NamedTuple):
    """What is known at block 0 of a step's first branch. Nothing is evaluated, and most of it never will be."""

    entry: Streams
    first: Streams
    modulated_input: mx.array
    first_block_residual: mx.array

    def carry(self, *, first_block: bool) -> Carry:
        """What the run takes over: nothing that the probe evaluated is evaluated again.

        Block 0's output only if it was read. A compiled run fuses across block 0 as mflux's own does, and
        rounds alike, if block 0 is part of it.
        """
        return Carry(self.entry, self.first if first_block else None)


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

    def __init__(self, body: Body, index: int, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.index = index
        self.block = block
        self._family = body.family
        self.stage, self._forward, self._signature = body.stages[index]
        self._args = args
        self._kwargs = kwargs

    def run(self) -> Any:
        return self._forward(self.block, *self._args, **self._kwargs)

    def run_on(self, streams: Streams) -> Any:
        """As mflux called it, but on these streams."""
        if isinstance(self.stage, Dual):
            replaced = {self.stage.image: streams.image, self.stage.text: streams.text}
        else:
            replaced = {self.stage.stream: self.pack(streams)}
        return self._forward(self.block, **{**self.arguments, **replaced})

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """By name, without the block itself."""
        bound = self._signature.bind(self.block, *self._args, **self._kwargs)
        bound.apply_defaults()
        return dict(list(bound.arguments.items())[1:])

    def given(self, arguments: dict[str, Any]) -> Given:
        """Arguments of this call for the family's functions."""
        return Given(arguments, f"{type(self.block).__name__} in {self.stage.blocks!r}", self._family)

    def streams(self, image_rows: int | None) -> Streams:
        """What enters the block; ``None``: it is the body's first, whose one stream is all image."""
        if isinstance(self.stage, Dual):
            return Streams(self.arguments[self.stage.image], self.arguments[self.stage.text])
        return _split(self.arguments[self.stage.stream], image_rows, self.stage)

    def unpack(self, returned: Any, image_rows: int | None) -> Streams:
        """What the block returned."""
        if isinstance(self.stage, Dual):
            first, second = returned
            return Streams(first, second) if self.stage.image_first else Streams(second, first)
        return _split(returned, image_rows, self.stage)

    def pack(self, streams: Streams) -> Any:
        """Streams as the block would return them."""
        if isinstance(self.stage, Dual):
            return (streams.image, streams.text) if self.stage.image_first else (streams.text, streams.image)
        if streams.text is None:
            return streams.image
        rows = [streams.image, streams.text] if self.stage.image_first else [streams.text, streams.image]
        return mx.concatenate(rows, axis=1)


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

    Raises:
        UnsupportedModel: a block list, a block argument or a part of block 0 that the family's entry names is
            missing, or the body is too short for ``residual_after``, or of another length in one of ``others``.
    """

    def __init__(self, transformer: Any, family: Family, residual_after: int = 0, others: Sequence[Any] = ()) -> None:
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
        self.stages = [(stage, type(block).__call__, _signature(block, stage, family)) for stage, block in blocks]
        check_block(blocks[0][1], self.stages[0][2], family)
        self._blocks = [weakref.ref(block) for each in (blocks, *more) for _, block in each]
        self.stream_dtype: mx.Dtype | None = None  # of the image stream when it was last computed
        self._phase: _Phase | None = None

    def install(self) -> None:
        """Swap the blocks' classes; parameters, isinstance and class names stay as they are."""
        for place, reference in enumerate(self._blocks):
            if (block := reference()) is not None:
                block.__class__ = subclass(type(block), self._gate(place % len(self.stages)))

    def restore(self) -> None:
        """Give the blocks their classes back. Blocks that mflux has freed are none of our business any more."""
        for reference in self._blocks:
            if (block := reference()) is not None:
                block.__class__ = type(block).__mro__[1]

    def probe(self, forward: Callable[[], Any]) -> Probe:
        """Run ``forward`` up to block 0 of its first branch."""
        phase = _Probing(self)
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

    @contextlib.contextmanager
    def _in(self, phase: _Phase) -> Iterator[None]:
        self._phase = phase
        try:
            yield
        finally:
            self._phase = None

    def _gate(self, index: int) -> Callable[..., Any]:
        forward = self.stages[index][1]

        def call(block: Any, *args: Any, **kwargs: Any) -> Any:
            if self._phase is None:
                return forward(block, *args, **kwargs)
            return self._phase.at(_Call(self, index, block, args, kwargs))

        return call


def subclass(cls: type, call: Callable[..., Any]) -> type:
    """A subclass that differs in ``__call__`` only and looks like the class itself in names and reprs."""
    return type(
        cls.__name__, (cls,), {"__call__": call, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    )


@dataclass(slots=True)
class _Probing:
    body: Body
    found: Probe | None = None

    def at(self, call: _Call) -> Any:
        arguments = {name: _apart(value) for name, value in call.arguments.items()}
        signal = self.body.family.modulated_input(call.block, call.given(arguments))
        entry = call.streams(None).copy()
        first = call.unpack(call.run(), None).copy()
        self.found = Probe(entry, first, signal, first.image - entry.image)
        raise _Stopped


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

    def _begin(self, call: _Call) -> None:
        entry = self._carry.entry if self._carry else call.streams(None).copy()
        place = len(self.branches)
        residual = self._residuals[place] if place < len(self._residuals) else None
        self._in_full = self._body.family.must_compute(call.given(call.arguments))
        if self._in_full and self._carry:  # block 0 as well, which leaves more behind than its streams
            self._carry = Carry(self._carry.entry, None)
        fits = residual is not None and not self._in_full and self._fits(residual, entry.image)
        self._residual = residual if fits else None
        self._input = entry.image
        self._image_rows = entry.image.shape[1]

    def _fits(self, residual: mx.array, stream: mx.array) -> bool:
        """A stream of another size or type than the residual was made in must compute."""
        return residual.shape == stream.shape and self._body.stream_dtype == stream.dtype

    def _skip(self, call: _Call) -> Any:
        if self._reused is None:
            assert self._residual is not None
            self._reused = Streams(self._input + self._residual)
        if self._reused.text is None:  # the first list may have the image's rows alone
            self._reused = self._reused._replace(text=call.streams(self._image_rows).text)
        return call.pack(self._reused.copy())

    def _compute(self, call: _Call, begins: bool) -> Any:
        returned = self._first(call) if begins else call.run()
        # Taken apart only where it is needed: most of a body's blocks are neither its last nor its first.
        self._last = call, tuple(map(_own, returned)) if isinstance(returned, tuple) else _own(returned)
        if call.index < self._body.residual_after:
            self._input = self._computed()
        return returned

    def _computed(self) -> mx.array:
        """Image part of what the last computed block returned."""
        call, returned = self._last
        return call.unpack(returned, self._image_rows).image

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
            self._body.stream_dtype = self._input.dtype
            self.branches.append(Branch(self._input, self._computed(), reused=False, in_full=self._in_full))
        else:
            self.branches.append(Branch(self._input, _own(self._reused.image), reused=True))
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


def _signature(block: Any, stage: Dual | Joint, family: Family) -> inspect.Signature:
    signature = inspect.signature(type(block).__call__)
    needed = (stage.image, stage.text) if isinstance(stage, Dual) else (stage.stream,)
    if missing := [name for name in needed if name not in signature.parameters]:
        has = ", ".join(list(signature.parameters)[1:])
        raise changed(
            f"{type(block).__name__} in {stage.blocks!r} has no argument {missing[0]!r} (it has {has})", family
        )
    return signature
