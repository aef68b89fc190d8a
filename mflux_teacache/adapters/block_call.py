"""One call of one block by mflux's forward: what it brings, and how to make it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import mlx.core as mx

from mflux_teacache.adapters.body_blocks import Entry
from mflux_teacache.adapters.compiled_blocks import CompiledBlocks
from mflux_teacache.adapters.entry_check import Given
from mflux_teacache.adapters.signatures import bind_all
from mflux_teacache.adapters.streams import Streams, join, own, split
from mflux_teacache.family import Dual, Family


class BlockCall:
    """A call that has not been made yet.

    Args:
        entry: what is called of the block.
        compiled: calls the block compiled on its own; ``None`` = as mflux does.
        args, kwargs: as mflux gives them.
    """

    def __init__(
        self,
        entry: Entry,
        family: Family,
        compiled: CompiledBlocks | None,
        block: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.index = entry.place
        self.stage = entry.stage
        self.block = block
        self._entry = entry
        self._family = family
        self._compiled = compiled
        self._args = args
        self._kwargs = kwargs

    def run(self) -> Any:
        if self._compiled is not None:
            return self._compiled.call(self._entry.forward, self.block, self.arguments)
        return self._entry.forward(self.block, *self._args, **self._kwargs)

    def on(self, streams: Streams) -> BlockCall:
        """The same call, with these streams in the place of mflux's."""
        if isinstance(self.stage, Dual):
            return self._with(**{self.stage.image: streams.image, self.stage.text: streams.text})
        return self._with(**{self.stage.stream: join(streams, self.stage)})

    def copy(self) -> BlockCall:
        """The same call, whose streams nobody else changes in place."""
        names = (self.stage.image, self.stage.text) if isinstance(self.stage, Dual) else (self.stage.stream,)
        return self._with(**{name: own(self.arguments[name]) for name in names})

    def _with(self, **streams: Any) -> BlockCall:
        arguments = {**self.arguments, **streams}
        return BlockCall(self._entry, self._family, self._compiled, self.block, (), arguments)

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """By name, without the block itself."""
        return bind_all(self._entry.signature, self._args, self._kwargs)

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
        return split(self.arguments[self.stage.stream], image_rows, self.stage)

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
        return split(streams[0], image_rows, self.stage)

    def pack(self, streams: Streams) -> Any:
        """Streams as the block would return them."""
        if isinstance(self.stage, Dual):
            return (streams.image, streams.text) if self.stage.image_first else (streams.text, streams.image)
        stream = join(streams, self.stage)
        return (stream, *(None,) * self.stage.returns_more) if self.stage.returns_more else stream
