"""How far images are from the first one, where that can be said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
import PIL.Image
import PIL.ImageOps

from mflux_teacache.discovery import PACKAGE
from mflux_teacache.errors import OptionError
from mflux_teacache.image_quality import levels, psnr, squared_error, ssim
from mflux_teacache.image_record import keys
from mflux_teacache.image_record.account import Account
from mflux_teacache.image_record.read import is_image
from mflux_teacache.installation import installing
from mflux_teacache.pieces.input_files import Unreadable, open_file
from mflux_teacache.show.text import sums
from mflux_teacache.spelling import brief, described, visible
from mflux_teacache.text_tables import aligned

_SSIM_PIXELS = 7  # the least height and width that it is defined for
_SSIM_NEEDS = "skimage"

# What must agree for two images to be the same picture.
_SETTINGS = (
    *(keys.PROMPT, keys.NEGATIVE_PROMPT, keys.MODEL, keys.QUANTIZE, keys.LORAS, keys.LORA_SCALES),
    *(keys.STEPS_ASKED, keys.GUIDANCE, keys.INPUT, keys.STRENGTH),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An image, and how far it is from the first one.

    Attributes:
        image: its pixels as a viewer shows them, in RGB with 8 bits; ``None`` for a sidecar.
        shown_as: what these pixels leave out of the file or add to it, in words.
        psnr: in dB, infinite for equal images; ``None`` for the first image, and where the two cannot be compared.
        ssim: ``None`` as well where scikit-image is missing or the images are too small.
        unlike: settings, as mflux names them, that are not the same in both.
        why_not: why they are not compared.
    """

    account: Account
    image: PIL.Image.Image | None
    shown_as: tuple[str, ...] = ()
    psnr: float | None = None
    ssim: float | None = None
    unlike: tuple[str, ...] = ()
    why_not: str | None = None


def seen(accounts: Sequence[Account]) -> list[Seen]:
    """The images, each compared with the first.

    Raises:
        OptionError: one has no pixels that can be read.
    """
    first, *others = map(looked_at, accounts)
    return [first, *(compared(first, other) for other in others)]


def looked_at(account: Account) -> Seen:
    """What a file says, with its pixels.

    Raises:
        OptionError: it is no image that can be read.
    """
    path = account.path
    if not is_image(path):
        return Seen(account=account, image=None)
    try:
        with open_file(path) as file, PIL.Image.open(file) as image:
            pixels, shown_as = _as_shown(image)
    except Unreadable as error:
        raise OptionError(f"{path} cannot be read: {error}. Name an image, or its .metadata.json.") from error
    except PIL.UnidentifiedImageError as error:
        what = "it is empty" if path.stat().st_size == 0 else "it is none of the formats that Pillow knows"
        raise OptionError(f"{path} is no image: {what}. Name another image, or its .metadata.json.") from error
    except Exception as error:  # a damaged file makes Pillow raise nearly anything, and a bomb its own error
        raise OptionError(
            f"{path} has no pixels that can be read: {described(error)}. Name another image, or its .metadata.json."
        ) from error
    return Seen(account=account, image=pixels, shown_as=shown_as)


def _as_shown(image: PIL.Image.Image) -> tuple[PIL.Image.Image, tuple[str, ...]]:
    """Turned as its EXIF says, in RGB, and what that leaves out or adds."""
    frames = getattr(image, "n_frames", 1)
    deep = ";16" in str(image.tile)  # Pillow reads 16 bits of a colour as 8, and its mode tells no more of them
    pixels = PIL.ImageOps.exif_transpose(image)
    if pixels.mode.startswith("I"):  # 16 bits of grey, which ``convert`` would clip
        pixels = PIL.Image.fromarray((np.asarray(pixels) >> 8).astype(np.uint8))
    clear = pixels.has_transparency_data and pixels.convert("RGBA").getextrema()[3] != (255, 255)
    if clear:
        pixels = PIL.Image.alpha_composite(PIL.Image.new("RGBA", pixels.size, "white"), pixels.convert("RGBA"))
    said = ((frames > 1, f"first of {frames} frames"), (deep, "8 of 16 bits"), (clear, "transparent, on white"))
    return pixels.convert("RGB"), tuple(what for is_so, what in said if is_so)


def compared(first: Seen, other: Seen) -> Seen:
    """The other with its distance from the first, or why there is none."""
    one, two = first.account.made, other.account.made
    unlike = tuple(name.replace("_", " ") for name in _SETTINGS if one and two and one.get(name) != two.get(name))
    if why_not := _why_not(first, other):
        return replace(other, unlike=unlike, why_not=why_not)
    assert first.image is not None, "else they were not compared"
    assert other.image is not None
    full, cached = levels(first.image), levels(other.image)
    measured = min(first.image.size) >= _SSIM_PIXELS and find_spec(_SSIM_NEEDS) is not None
    return replace(
        other,
        psnr=psnr(squared_error(cached, full)),
        ssim=ssim(cached, full) if measured else None,
        unlike=unlike,
    )


def _why_not(first: Seen, other: Seen) -> str | None:
    seeds = [each.account.made.get(keys.SEED) for each in (first, other)]
    if None not in seeds and seeds[0] != seeds[1]:
        return f"seeds {brief(seeds[0])} and {brief(seeds[1])}"
    if first.image is None or other.image is None:
        return "a sidecar has no pixels, so name the image"
    if first.image.size != other.image.size:
        (width, height), (other_width, other_height) = first.image.size, other.image.size
        return f"sizes {width}x{height} and {other_width}x{other_height}"
    return None


def as_text(images: Sequence[Seen]) -> str:
    """A table of all images but the first, which the others are compared with."""
    first, *others = images
    lines = [("IMAGE", "STEPS", "PSNR", "SSIM", "")]
    for other in others:
        steps = sums(other.account) if other.account.pattern else "no plugin recorded"
        lines.append((visible(other.account.path), steps, decibels(other), _share(other.ssim), _remarks(other)))
    hint = [] if all(other.psnr is None or other.ssim is not None for other in others) else [_hint()]
    width = max(len(line[-1]) for line in lines)
    table = aligned([(*cells, last.ljust(width)) for *cells, last in lines], left=2)
    shown_as = f" ({'; '.join(first.shown_as)})" if first.shown_as else ""
    return "\n".join([f"compared with {visible(first.account.path)}{shown_as}", *table, *hint])


def decibels(found: Seen) -> str:
    if found.psnr is None:
        return "-"
    return "equal" if math.isinf(found.psnr) else f"{found.psnr:.1f} dB"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _remarks(found: Seen) -> str:
    why = [f"not compared: {found.why_not}"] if found.why_not else []
    return "; ".join([*why, *found.shown_as, *([f"other {', '.join(found.unlike)}"] if found.unlike else [])])


def _hint() -> str:
    return (
        "SSIM needs images of at least 7x7 pixels."
        if find_spec(_SSIM_NEEDS)
        else f"SSIM needs scikit-image. Install it with `{installing(f'{PACKAGE}[bench]')}`."
    )
