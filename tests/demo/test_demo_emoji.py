"""The pictures that the training scenes are composed of, from a package like that of the registry."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from mflux_teacache.demo.trainer import emoji
from mflux_teacache.demo.vocabulary import OBJECTS


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Each object's picture is a half transparent red box of 100x50 pixels at its upper left."""
    picture = PIL.Image.new("RGBA", (256, 256))
    picture.paste((200, 0, 0, 128), (10, 20, 110, 70))
    content = io.BytesIO()
    picture.save(content, format="WebP", lossless=True)
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as files:
        for code in emoji._CODES.values():
            member = tarfile.TarInfo(f"package/assets/{code}.webp")
            member.size = len(content.getvalue())
            files.addfile(member, io.BytesIO(content.getvalue()))
    return path


def test_every_object_has_a_picture_of_its_own() -> None:
    assert set(emoji._CODES) == set(OBJECTS)
    assert len(set(emoji._CODES.values())) == len(OBJECTS)


def test_sprites_are_as_large_as_the_canvas_allows_in_its_middle(archive: Path) -> None:
    sprites = emoji.sprites(archive)
    assert sprites.shape == (len(OBJECTS), emoji.CANVAS, emoji.CANVAS, 4)
    rows, columns = np.nonzero(sprites[0, :, :, 3])
    assert (columns.min(), columns.max()) == (8, 151)
    assert (rows.min(), rows.max()) == (44, 115)
    assert sprites[0, 80, 80].tolist() == pytest.approx([100, 0, 0, 128], abs=1)  # red times opacity
