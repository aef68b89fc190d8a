"""What is known at block 0, where signals come from; and the phase that leaves mflux's forward there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import mlx.core as mx

from mflux_teacache.adapters.block_call import BlockCall
from mflux_teacache.adapters.streams import Streams, split
from mflux_teacache.family import Family, Joint


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


class Stopped(Exception):
    """Leaves the forward at block 0."""


@dataclass(slots=True)
class ProbePhase:
    """What block 0 does while probing.

    Attributes:
        first_block: run block 0 too.
        carry: from an earlier probe of the same forward, which did not.
        found: ``None`` until block 0 has been called.
    """

    family: Family
    first_block: bool
    carry: Carry | None
    found: Probe | None = None

    def at(self, call: BlockCall) -> Any:
        image_rows = call.image_rows()
        if self.carry is None:
            entry = call.streams(image_rows).copy()
        else:
            entry = self.carry.entry
            call = call.on(entry.copy())
        self.found = look(call, entry, image_rows, self.family)
        if self.first_block:
            self.found = with_first_block(self.found, call, image_rows)
        raise Stopped

    def evaluate(self, *_: Any) -> None:
        """Nothing: what a probe needs of it is evaluated with the signal."""


def look(call: BlockCall, entry: Streams, image_rows: int | None, family: Family) -> Probe:
    """Without running the block."""
    given = call.given({name: _apart(value) for name, value in call.arguments.items()})
    signal = family.modulated_input(call.block, given)
    return Probe(entry, split(signal, image_rows, call.stage).image if isinstance(call.stage, Joint) else signal)


def with_first_block(probe: Probe, call: BlockCall, image_rows: int | None) -> Probe:
    """As ``probe``, and what the block returns."""
    first = call.unpack(call.returned_streams(call.run()), image_rows).copy()
    return probe._replace(first=first, first_block_residual=first.image - probe.entry.image)


def _apart(value: Any) -> Any:
    """The same array as another node of the graph, which ``mx.compile`` cannot merge with the first.

    A signal repeats what block 0 does to its arguments. MLX 0.32 fails with ``_Map_base::at`` when it merges two
    equal ``split`` of a sum, such as a modulation with an added bias or a LoRA.
    """
    return mx.depends([value], [value])[0] if isinstance(value, mx.array) else value
