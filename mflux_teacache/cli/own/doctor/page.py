"""The page that ``doctor`` prints: parts with facts, and what is broken. Paths into the home directory begin with ~."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mflux_teacache.addresses import REPOSITORY, page
from mflux_teacache.cli.own.columns import WIDTH, rows_of, wrap


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the page.

    Attributes:
        name: its heading, and its key in JSON.
        facts: what was found, in the order in which it is shown.
        broken: for each thing that does not work, what it is and what to do.
    """

    name: str
    facts: Mapping[str, str] = field(default_factory=dict)
    broken: Sequence[str] = ()


def as_text(parts: Sequence[Part]) -> str:
    broken = _broken(parts)
    lines = ["nothing is broken" if not broken else f"{len(broken)} broken"]
    for number, text in enumerate(broken, 1):
        first, *more = wrap(text, WIDTH - 4)
        lines += ["", f"{number:2}. {first}", *(f"    {line}" for line in more)]
    lines += ["", f"help    {page('troubleshooting')}", f"issues  {REPOSITORY}/issues"]
    for part in parts:
        lines += ["", part.name.upper(), *rows_of(list(part.facts.items()) or [("none", "")])]
    return without_home("\n".join(lines))


def as_json(parts: Sequence[Part]) -> str:
    facts = {part.name: {name: without_home(fact) for name, fact in part.facts.items()} for part in parts}
    return json.dumps({"broken": list(map(without_home, _broken(parts))), **facts}, indent=2)


def _broken(parts: Sequence[Part]) -> list[str]:
    return [text for part in parts for text in part.broken]


def without_home(text: str) -> str:
    """The text with ~ in place of the home directory, whose name is often that of its user."""
    home = str(Path.home())
    return text if home == Path.home().anchor else re.sub(rf"{re.escape(home)}(?![\w-]|\.\w)", "~", text)
