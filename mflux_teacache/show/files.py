"""The files that ``mflux-teacache show`` is given, read and checked together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mflux_teacache.errors import OptionError
from mflux_teacache.image_record.account import Account, account
from mflux_teacache.image_record.read import is_image
from mflux_teacache.show.comparison import looked_at

MOST_DRAWN = 8  # images in one picture, which is 2 to 7 inches high for each


def accounts_of(paths: Sequence[Path], *, drawn: bool) -> list[Account]:
    """What each file says.

    Args:
        drawn: a picture of them is asked for.

    Raises:
        OptionError: a file cannot be read or says nothing, or there is nothing or too much to draw.
    """
    accounts = [account(path) for path in paths]
    check_told(accounts)
    if drawn and len(accounts) > MOST_DRAWN:
        raise OptionError(
            f"--png draws at most {MOST_DRAWN} images, and {len(accounts)} are named. Name fewer, or leave out --png."
        )
    if drawn and not any(each.pattern or is_image(each.path) for each in accounts):
        raise OptionError("--png has nothing to draw: no file is an image or records steps. Name an image.")
    return accounts


def check_told(accounts: Sequence[Account]) -> None:
    """Refuse a file that says nothing about how it was made; an image among others can still be compared.

    Raises:
        OptionError: there is one.
    """
    for each in accounts:
        if not each.made and not each.plugins and (len(accounts) == 1 or not is_image(each.path)):
            looked_at(each)  # what is no image at all is refused as such
            raise OptionError(
                f"{each.path} says nothing about how it was made. Name an image that mflux wrote, or its "
                f".metadata.json."
            )
