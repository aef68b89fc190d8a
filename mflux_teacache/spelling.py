"""How a stranger's text, value or error is spelt, so that it can be shown: it cannot act on a terminal, nor fail.

What is printed holds names and values of files, packages and plugins that anybody may have written.
"""

from __future__ import annotations

import reprlib
from typing import Any
from unicodedata import category

LONGEST = 4000  # characters of a message: more than any of ours has with all that it lists

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 90

# Two format characters that words of some languages need; the others turn or hide text.
_JOINERS = "\u200c\u200d"


def visible(text: object) -> str:
    """On one line, with every character that would act on a terminal spelt out, such as ``\\x1b`` or ``\\u202e``."""
    line = str(text)
    return line if line.isprintable() else "".join(map(_spelt_out, line))


def _spelt_out(character: str) -> str:
    kind = category(character)
    acts = kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in _JOINERS)
    return character.encode("unicode_escape").decode("ascii") if acts else character


def visible_lines(text: str) -> str:
    """The same for a text of several lines, which stay lines."""
    return "\n".join(map(visible, text.split("\n")))


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text, with an ellipsis for its middle if it is too long: what to do stands at the end of a message."""
    if len(text) <= longest:
        return text
    end = longest // 4
    return f"{text[: longest - end - 1]}…{text[-end:]}"


def described(error: BaseException) -> str:
    """An error in a few words: its kind and what it says, without the full stop that may end it."""
    try:
        said = str(error).rstrip().removesuffix(".")
    except Exception:  # noqa: BLE001 - whatever its __str__ raises
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def brief(value: Any) -> str:
    """A value as a message shows it: whole if it is short, and never long."""
    try:
        return _BRIEF.repr(value)
    except Exception:  # noqa: BLE001 - of a number with too many digits, or whatever its __repr__ raises
        return f"a value of the type {type(value).__name__}"
