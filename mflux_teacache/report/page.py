"""The page: what its sections are made of, and the template that shows them."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING

import matplotlib as mpl
import PIL.Image

from mflux_teacache.pieces.output_files import png_of
from mflux_teacache.spelling import visible_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

# The longest side of an image on the page, in pixels: more than any screen that it is compared on shows of two.
LARGEST = 1536


@dataclass(frozen=True, slots=True)
class Picture:
    """An image or a chart, inline.

    Attributes:
        source: a ``data:`` address.
        text: what it shows, for whoever cannot see it.
        width, height: in pixels.
        caption: below it.
    """

    source: str
    text: str
    width: int
    height: int
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image of a full run, and one of the same picture made faster. They have one size."""

    full: Picture
    fast: Picture


@dataclass(frozen=True, slots=True)
class Table:
    """Attributes:
    heading: a title for each column.
    rows: their cells.
    left: so many of the first columns hold text.
    marked: numbers of the rows that stand out.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Details:
    """Text that is folded away until it is asked for, such as a table of steps."""

    title: str
    text: str


@dataclass(slots=True, kw_only=True)
class Section:
    """What one file, or one image beside another, comes to.

    Attributes:
        title: a heading of the page.
        summary: the most important, in a sentence.
        facts: labels with values: versions and settings.
        whole: the table with all of its rows, folded away, where it has many and only the best are shown.
        notes: sentences below the table.
    """

    title: str
    summary: str = ""
    facts: Sequence[tuple[str, str]] = ()
    pair: Pair | None = None
    pictures: Sequence[Picture] = ()
    charts: Sequence[Picture] = ()
    table: Table | None = None
    whole: Table | None = None
    notes: Sequence[str] = ()
    details: Sequence[Details] = field(default_factory=list)


def chart(draw: Callable[[], Figure], text: str, caption: str = "") -> Picture:
    """A figure of matplotlib's; ``draw`` makes it."""
    # Names in a stranger's file may have dollar signs, which matplotlib would read as formulas.
    with mpl.rc_context({"text.parse_math": False}):
        content = png_of(draw())
    with PIL.Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    return Picture(_address("png", content), text, width, height, caption)


def picture(image: PIL.Image.Image, text: str, caption: str = "") -> Picture:
    """The pixels alone, without loss up to ``LARGEST``; what a file says beside them stays out of the page."""
    small = image.convert("RGB")
    small.thumbnail((LARGEST, LARGEST), PIL.Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, format="webp", lossless=True)
    return Picture(_address("webp", content.getvalue()), text, small.width, small.height, caption)


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def rendered(title: str, sections: Sequence[Section], made_by: str) -> str:
    """The page as HTML, which needs no other file and asks the network for nothing.

    Args:
        made_by: this package with its version.
    """
    import jinja2
    from markupsafe import Markup

    folder = files("mflux_teacache.report")
    style, script = (folder.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    # Autoescaping covers every value; characters that could hide or reverse text are spelt out as on a terminal.
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible_lines(value) if type(value) is str else value,
    )
    return environment.from_string(folder.joinpath("page.html").read_text("utf-8")).render(
        title=title,
        sections=sections,
        made_by=made_by,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _hash(text: str) -> str:
    """By which the page's policy knows its own style and script, and lets nothing else run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
