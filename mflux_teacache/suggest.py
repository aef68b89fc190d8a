"""What somebody may have meant who wrote a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LIKE = 0.7  # difflib's ratio, from which on two names are taken for one with a slip


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A sentence to put behind another one, with a space before it; empty where nothing is near."""
    near = get_close_matches(word, sorted(words), n=1, cutoff=LIKE)
    return f" Did you mean {near[0]}?" if near else ""
