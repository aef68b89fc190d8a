"""The arrays that go from block to block."""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx

from mflux_teacache.family import Joint


class Streams(NamedTuple):
    """Image part and text part of what enters or leaves a block."""

    image: mx.array
    text: mx.array | None = None

    def copy(self) -> Streams:
        return Streams(own(self.image), None if self.text is None else own(self.text))


def own(array: mx.array) -> mx.array:
    """The same values as another Python object: MLX's ``+=`` changes the object that it is applied to."""
    return array[...]


def split(stream: mx.array, image_rows: int | None, stage: Joint) -> Streams:
    """A block's one stream in its parts; ``image_rows`` of ``None``: it is all image."""
    rows = stream.shape[1]
    if image_rows is None or image_rows == rows:
        return Streams(stream, None)
    if stage.image_first:
        return Streams(stream[:, :image_rows], stream[:, image_rows:])
    return Streams(stream[:, rows - image_rows :], stream[:, : rows - image_rows])


def join(streams: Streams, stage: Joint) -> mx.array:
    """Streams as the block's one stream."""
    if streams.text is None:
        return streams.image
    rows = [streams.text, streams.image]
    return mx.concatenate(rows[::-1] if stage.image_first else rows, axis=1)
