"""What mflux writes into an image is found again; of what anybody else writes, no more is read than leads to it."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import PIL.Image
import pytest
from mflux.utils.image_util import ImageUtil
from mflux.utils.metadata_reader import MetadataReader

from mflux_teacache.adapters.image_metadata import embedded

FORMATS = ("png", "jpg", "webp")
MOST = 1_000_000
METADATA = {
    **{"model": "x", "prompt": "é 日本 \U0001f34e", "seed": 1, "steps": 3, "guidance": 3.5, "lora_paths": None},
    **{"width": 8, "height": 8, "generation_time_seconds": 1, "created_at": "2030-01-01T00:00:00"},
    "mflux_plugins": {"schema": 1, "plugins": {"a": ["b"] * 500}},
}


def found(content: bytes, most: int = MOST) -> str | None:
    return embedded(io.BytesIO(content), most)


@pytest.fixture(scope="module", params=FORMATS)
def image(request, tmp_path_factory) -> Path:
    """As mflux saves it."""
    path = tmp_path_factory.mktemp("images") / f"image.{request.param}"
    ImageUtil.save_image(PIL.Image.new("RGB", (33, 17), (1, 2, 3)), path, METADATA)
    return path


def test_it_is_what_mflux_reads(image):
    text = found(image.read_bytes())
    assert text is not None
    assert json.loads(text) == MetadataReader.read_exif_metadata(image) == METADATA


def test_also_of_an_image_that_another_program_has_saved(image, tmp_path):
    """With a colour profile and a text before the block, and in another byte order."""
    again = tmp_path / f"again{image.suffix}"
    with PIL.Image.open(image) as opened:
        opened.getexif()[0x010E] = "a description"
        exif = opened.getexif()
        exif.endian = "<"
        opened.save(again, exif=exif, icc_profile=b"p" * 3001)
    text = found(again.read_bytes())
    assert text is not None
    assert json.loads(text) == METADATA


def test_an_image_without_any(tmp_path):
    for suffix in FORMATS:
        path = tmp_path / f"plain.{suffix}"
        PIL.Image.new("RGB", (8, 8)).save(path)
        assert found(path.read_bytes()) is None
    for content in (b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF\x00\x00\x00\x00WEBP"):
        assert found(content) is None


def test_a_block_of_more_than_is_read(image):
    with pytest.raises(ValueError, match=r"its metadata has \d+ bytes, and at most 1000 are read"):
        found(image.read_bytes(), 1000)


def test_cut_off_anywhere(image):
    content = image.read_bytes()
    whole = found(content)
    for size in range(0, len(content), 7):
        assert found(content[:size]) in (None, whole)


def test_any_byte_may_be_another(image):
    chance = random.Random(1)
    content = image.read_bytes()
    for _ in range(3000):
        broken = bytearray(content)
        for _ in range(chance.choice((1, 1, 3, 30))):
            broken[chance.randrange(min(len(content), 400))] = chance.choice(
                (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
            )
        with contextlib.suppress(ValueError):  # a block of more than is read
            assert isinstance(found(bytes(broken)), str | None)


# --- images that are made to cost -----------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


def png(*chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">LLBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\x00\x00\x00\x00"))
    return b"".join((b"\x89PNG\r\n\x1a\n", head, *chunks, pixels, chunk(b"IEND", b"")))


def directory(*entries: tuple[int, int, int, int]) -> bytes:
    return struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHLL", *entry) for entry in entries) + bytes(4)


def peak(content: bytes) -> int:
    tracemalloc.start()
    try:
        found(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_tags_that_share_what_they_hold():
    """The reader that mflux has takes 12 s and 2 GB for this."""
    shared = [(tag, 1, 900_000, 100_000) for tag in range(0x100, 0x200)]
    first = directory(*shared, (0x8769, 4, 1, 8 + 2 + 12 * 257 + 4))
    block = (b"MM\x00*\x00\x00\x00\x08" + first + directory(*shared)).ljust(MOST, b"a")
    assert found(png(chunk(b"eXIf", block))) is None
    assert peak(png(chunk(b"eXIf", block))) < 5 * MOST


def test_directories_that_lead_to_each_other():
    for at in (8, 0, 2**32 - 1):
        block = b"MM\x00*\x00\x00\x00\x08" + directory((0x8769, 4, 1, at))
        assert found(png(chunk(b"eXIf", block))) is None


def test_a_comment_that_is_longer_than_its_block():
    block = b"MM\x00*\x00\x00\x00\x08" + directory((0x8769, 4, 1, 26)) + directory((0x9286, 7, 2**32 - 1, 26))
    assert peak(png(chunk(b"eXIf", block))) < MOST


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"prVt"])
def test_other_chunks_are_passed_over(kind):
    """Texts and profiles that unpack to much more are not unpacked, and large ones not read."""
    assert peak(png(chunk(kind, b"a" * 5_000_000))) < MOST


def test_chunks_without_end():
    many = chunk(b"prVt", b"") * 200_000
    before = chunk(b"prVt", b"") * 9_000
    block = b"MM\x00*\x00\x00\x00\x08" + directory((0x8769, 4, 1, 26)) + directory((0x9286, 7, 7, 44)) + b"{'a':1}"
    assert found(png(before, chunk(b"eXIf", block))) == "{'a':1}"
    assert found(png(many, chunk(b"eXIf", block))) is None
