"""The demo's picture for images that exist."""

from __future__ import annotations

from collections.abc import Sequence

import PIL.Image
from matplotlib.figure import Figure

from mflux_teacache.charts.comparison import Block, Panel, compared
from mflux_teacache.charts.comparison import drawn as draw_blocks
from mflux_teacache.image_record import keys
from mflux_teacache.show.comparison import Seen
from mflux_teacache.show.text import image_of
from mflux_teacache.spelling import shortened, visible

_LONGEST_TITLE = 240
_LONGEST_NAME = 32  # below an image, a third of the picture wide


def drawn(images: Sequence[Seen]) -> Figure:
    """One image with its steps; or each of the others beside the first one, with their difference and its steps."""
    first, *others = images
    prompt = first.account.made.get(keys.PROMPT)
    title = shortened(visible(prompt if isinstance(prompt, str) else first.account.path.name), _LONGEST_TITLE)
    title = f"{title} ({settings})" if (settings := image_of(first.account.made)) else title
    return draw_blocks(title, [_beside(first, other) for other in others] or [_alone(first)])


def _alone(seen: Seen) -> Block:
    if seen.image is None:
        return Block((), seen.account.records, _label(seen, ": "))
    return Block([_panel(seen, seen.image)], seen.account.records)


def _beside(first: Seen, other: Seen) -> Block:
    if first.image is None or other.image is None:
        return _alone(other)
    panels = [_panel(first, first.image), _panel(other, other.image)]
    return Block(panels if other.psnr is None else compared(*panels), other.account.records)


def _panel(seen: Seen, image: PIL.Image.Image) -> Panel:
    return Panel(_label(seen, "\n"), image)


def _label(seen: Seen, between: str) -> str:
    account = seen.account
    steps = f"computed {account.computed:.4g} of {len(account.records)}" if account.records else "no plugin recorded"
    return f"{shortened(visible(account.path.name), _LONGEST_NAME)}{between}{steps}"
