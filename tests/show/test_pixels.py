"""Images of other kinds than most of mflux's: what ``show`` and ``report`` compare of them, and that it is said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from mflux_teacache.image_record.account import Account
from mflux_teacache.report.images import sections
from mflux_teacache.show.comparison import as_text, seen


def _saved(path: Path, image: PIL.Image.Image, **options: Any) -> Account:
    image.save(path, **options)
    return Account(path=path)


def _turned_by(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


def _pixels(image: PIL.Image.Image) -> np.ndarray[Any, Any]:
    assert image.mode == "RGB"
    return np.asarray(image)


SQUARE = PIL.Image.new("RGB", (8, 8), (90, 100, 110))
DEEP = PIL.Image.fromarray(np.full((8, 8), 90 * 256 + 7, np.uint16))
GREY = PIL.Image.new("RGB", (8, 8), (90, 90, 90))
RED = PIL.Image.new("RGB", (8, 8), "red")
CLEAR = PIL.Image.merge("RGBA", (*RED.split(), PIL.Image.new("L", (8, 8), 0)))
PALETTE = RED.convert("P")


def test_an_image_that_its_exif_turns_is_compared_as_a_viewer_shows_it(tmp_path: Path) -> None:
    upright = PIL.Image.fromarray(np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3))
    lying = upright.transpose(PIL.Image.Transpose.ROTATE_90)
    first, other = seen(
        [_saved(tmp_path / "a.png", upright), _saved(tmp_path / "b.png", lying, exif=_turned_by(6))]  # 6: by 270
    )
    assert other.psnr == math.inf
    assert first.shown_as == other.shown_as == ()
    assert other.image is not None
    assert (_pixels(other.image) == np.asarray(upright)).all()


@pytest.mark.parametrize(
    ("plain", "kind", "options", "remark"),
    [
        (SQUARE, SQUARE, {"save_all": True, "append_images": [RED, GREY]}, "first of 3 frames"),
        (GREY, DEEP, {}, "8 of 16 bits"),
        (PIL.Image.new("RGB", (8, 8), "white"), CLEAR, {}, "transparent, on white"),
        (
            PIL.Image.new("RGB", (8, 8), "white"),
            PALETTE,
            {"transparency": PALETTE.getpixel((0, 0))},
            "transparent, on white",
        ),
        (RED, RED.convert("RGBA"), {}, ""),  # opaque everywhere: nothing is lost
    ],
    ids=["animated", "deep", "transparent", "palette", "opaque"],
)
def test_what_is_not_compared_is_said(
    plain: PIL.Image.Image, kind: PIL.Image.Image, options: Mapping[str, Any], remark: str, tmp_path: Path
) -> None:
    accounts = _saved(tmp_path / "a.png", plain), _saved(tmp_path / "b.png", kind, **options)
    first, other = seen(accounts)
    assert other.image is not None
    assert (_pixels(other.image) == np.asarray(plain)).all()
    assert as_text([first, other]).splitlines()[2].partition("equal")[2].strip(" -1.0") == remark
    heading = as_text([other, first]).splitlines()[0]
    assert heading == f"compared with {other.account.path}" + (f" ({remark})" if remark else "")
    [section] = sections(accounts)
    assert [note for note in section.notes if note.startswith("b.png")] == ([f"b.png: {remark}."] if remark else [])
    [alone] = sections(accounts[1:])
    assert alone.notes == ([f"b.png: {remark}."] if remark else [])
