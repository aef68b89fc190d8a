"""What mflux wrote into an image about how it was made: the text of one tag of its EXIF block, for PNG, JPEG and WebP.

mflux reads it with Pillow and piexif, which unpack every tag of a block. Tags may share their contents, so a malicious
image of 1 MB costs them 12 s and 2 GB. An image may come from anywhere, so this module follows only the path to the one
tag.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_EXIF = b"Exif\x00\x00"
_ASCII = b"ASCII\x00\x00\x00"
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286

# How many parts are looked at before the pixels. Even an image that many programs have edited has only dozens.
_MOST_PARTS = 10_000


class _Part(NamedTuple):
    """A chunk of a PNG or WebP, or a segment of a JPEG. The file's position is the beginning of its content."""

    kind: bytes
    size: int


def embedded(file: BinaryIO, most: int) -> str | None:
    """The metadata inside an image, the JSON text that mflux wrote; ``None`` if none can be found.

    Args:
        file: the image, at its beginning.
        most: how many bytes its EXIF block may have.

    Raises:
        ValueError: the block has more.
        OSError: the file cannot be read.
    """
    try:
        block = _exif(file, most)
        comment = None if block is None else _user_comment(block)
        return None if comment is None else comment.removeprefix(_ASCII).decode("utf-8")
    except (struct.error, UnicodeDecodeError):  # the block is cut off, or another program wrote it
        return None


def _exif(file: BinaryIO, most: int) -> bytes | None:
    """The TIFF structure in an image."""
    # The format is told by the first bytes and not by the suffix, which anybody may have changed.
    head = file.read(12) or b""  # some files of /proc give None, having nothing to read yet
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        file.seek(8)
        return _wanted(file, _png_chunks(file), b"eXIf", most)
    if head.startswith(b"\xff\xd8"):
        file.seek(2)
        return _wanted(file, _jpeg_segments(file), b"\xe1", most)
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return _wanted(file, _webp_chunks(file), b"EXIF", most)
    return None


def _wanted(file: BinaryIO, parts: Iterator[_Part], kind: bytes, most: int) -> bytes | None:
    for part, _ in zip(parts, range(_MOST_PARTS), strict=False):
        if part.kind != kind:
            continue
        if part.size > most:
            raise ValueError(f"its metadata has {part.size} bytes, and at most {most} are read")
        content = file.read(part.size)
        # JPEGs keep XMP in segments of the same kind, and only the content tells them apart.
        if kind != b"\xe1" or content.startswith(_EXIF):
            return content.removeprefix(_EXIF)
    return None


def _png_chunks(file: BinaryIO) -> Iterator[_Part]:
    """The chunks before the pixels, where mflux writes its own."""
    while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        size, start = int.from_bytes(head[:4], "big"), file.tell()
        yield _Part(head[4:], size)
        file.seek(start + size + 4)  # a checksum follows each chunk


def _jpeg_segments(file: BinaryIO) -> Iterator[_Part]:
    """The segments before the pixels, where mflux writes its own."""
    while len(head := file.read(4)) == 4 and head[0] == 0xFF and head[1:2] not in (b"\xda", b"\xd9"):
        size, start = int.from_bytes(head[2:], "big"), file.tell() - 2  # the size counts its own two bytes
        yield _Part(head[1:2], max(0, size - 2))
        file.seek(start + max(2, size))  # a size below 2 would send the loop back


def _webp_chunks(file: BinaryIO) -> Iterator[_Part]:
    while len(head := file.read(8)) == 8:
        size, start = int.from_bytes(head[4:], "little"), file.tell()
        yield _Part(head[:4], size)
        file.seek(start + size + size % 2)  # chunks are padded to an even length


def _user_comment(block: bytes) -> bytes | None:
    order = ">" if block.startswith(b"MM") else "<"  # TIFF: Motorola's byte order, or Intel's
    (first,) = struct.unpack_from(f"{order}L", block, 4)
    found = _tag(block, order, first, _EXIF_IFD)
    if found is None:
        return None
    comment = _tag(block, order, found[1], _USER_COMMENT)
    if comment is None:
        return None
    size, start = comment
    return block[start : start + size] if start + size <= len(block) else None


def _tag(block: bytes, order: str, directory: int, wanted: int) -> tuple[int, int] | None:
    """How many values a tag of a directory has, and the offset of the first; ``None`` if the tag is not there."""
    (count,) = struct.unpack_from(f"{order}H", block, directory)
    for place in range(count):
        tag, _, size, offset = struct.unpack_from(f"{order}HHLL", block, directory + 2 + 12 * place)
        if tag == wanted:
            return size, offset
    return None
