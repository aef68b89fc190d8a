"""Which of several images is the full run that another is held against. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mflux_teacache.image_record import keys
from mflux_teacache.image_record.account import Account
from mflux_teacache.image_record.read import is_image
from mflux_teacache.spelling import visible

_SAME_PICTURE = (keys.SEED, keys.PROMPT, keys.WIDTH, keys.HEIGHT)


def is_full(account: Account) -> bool:
    """Whether an image is known to have computed every step: it says how it was made, and of no skipped step."""
    return bool(account.made) and set(account.pattern) <= {"C"} and is_image(account.path)


def reference(account: Account, accounts: Sequence[Account]) -> Account:
    """What an image is put beside: a full run of its picture, or else of another one, or else the first image."""
    full = list(filter(is_full, accounts))
    same = [each for each in full if _is_of_one_picture(each, account)]
    images = [each for each in accounts if is_image(each.path)]
    return next(iter([*same, *full, *images, *accounts]))


def doubt(accounts: Sequence[Account]) -> str | None:
    """Why it is not certain which image is the full run; ``None`` if it is, or there is only one image."""
    images = [each for each in accounts if is_image(each.path)]
    full = list(filter(is_full, images))
    if len(images) > 1 and not full:
        return (
            f"None of these images is said to be a full run, with every step computed. All are beside "
            f"{_name(images[0])}, which was named first. Name the full run's image too, as mflux wrote it."
        )
    for first in full:
        if same := {_name(each): None for each in full if each.path != first.path and _is_of_one_picture(each, first)}:
            return (
                f"{', '.join([_name(first), *same])} are of one picture, each with every step computed. "
                f"{_name(first)}, which was named first, is taken for the full run."
            )
    return None


def _is_of_one_picture(one: Account, other: Account) -> bool:
    return all(one.made.get(name) == other.made.get(name) for name in _SAME_PICTURE)


def _name(account: Account) -> str:
    return visible(account.path.name)
