"""Images that mflux has drawn are not replaced by a picture of ours: each took minutes."""

from __future__ import annotations

import contextlib
from pathlib import Path

from mflux_teacache.errors import OptionError
from mflux_teacache.image_record.read import is_image, metadata


def check_is_no_image_of_mflux(option: str, path: Path) -> None:
    """Refuse to write a picture where an image with mflux's metadata is; ``option`` names it in the message.

    Raises:
        OptionError: such an image is there.
    """
    made = None
    if is_image(path) and path.is_file():
        with contextlib.suppress(OptionError):  # what cannot be read is no such image
            made = metadata(path)
    if made is not None:
        raise OptionError(f"{option} is {path}, an image that mflux drew. Name a file that is new, or delete it first.")
