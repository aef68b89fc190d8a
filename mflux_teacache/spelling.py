"""How a stranger's text, value or error is spelt, so that showing it can neither act on a terminal nor fail.

Messages contain names and values from files, packages and plugins that anybody may have written.
"""

from __future__ import annotations

import re
import reprlib
import shlex
from pathlib import Path
from typing import Any
from unicodedata import category

LONGEST = 4000  # characters of a message; even our messages that list every plugin or option are shorter

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 90

# The two format characters that some languages need within words. The others can reverse or hide text.
_JOINERS = "\u200c\u200d"

_PATH = re.compile(r"(?:/|~|\.\.?[/\\]|[A-Za-z]:[/\\]|\\\\)[^\n]+")
_FOLDERS = re.compile(r"(?<![^\s=,(\[`'\"])(?:~[^\s/]*|\.\.?|[A-Za-z]:)?[/\\](?:[^\s/\\]+[/\\])+")


def visible(text: object) -> str:
    """On one line, with every character that would act on a terminal spelt out, such as ``\\x1b`` or ``\\u202e``."""
    line = str(text)
    return line if line.isprintable() else "".join(map(_spelt_out, line))


def _spelt_out(character: str) -> str:
    kind = category(character)
    acts = kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in _JOINERS)
    return character.encode("unicode_escape").decode("ascii") if acts else character


def visible_lines(text: str) -> str:
    """The same for a text of several lines, whose line breaks stay."""
    return "\n".join(map(visible, text.split("\n")))


def without_folder(value: object) -> object:
    """A path's last part, and anything else as it is: folders say whose machine it was, and how it is laid out.

    The id of a model, such as ``someone/model``, is no path: one begins at a root, a drive, a home or a folder's dots.
    """
    return re.split(r"[/\\]", value.rstrip("/\\"))[-1] if isinstance(value, str) and _PATH.match(value) else value


def without_folders(text: str) -> str:
    """A sentence in which each path is its last part alone, where no part has a space."""
    return _FOLDERS.sub("", text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text, with an ellipsis in place of its middle if it is too long."""
    if len(text) <= longest:
        return text
    # The end is kept as well, since that is where our messages say what to do.
    end = longest // 4
    return f"{text[: longest - end - 1]}…{text[-end:]}"


def described(error: BaseException) -> str:
    """An error in a few words: its type and its message, without a full stop at the end."""
    try:
        said = str(error).rstrip().removesuffix(".")
    except Exception:  # noqa: BLE001 - a stranger's __str__ may raise anything
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def brief(value: Any) -> str:
    """A value as a message shows it: in full if it is short, else shortened."""
    try:
        return _BRIEF.repr(value)
    except Exception:  # noqa: BLE001 - a stranger's __repr__ may raise anything, and so may a number of 5000 digits
        return f"a value of the type {type(value).__name__}"


def kind_of(value: Any) -> str:
    """A value in a few words: of an array its kind, whose numbers would have to be computed first."""
    try:
        return f"an {type(value).__name__}" if hasattr(value, "shape") else brief(value)
    except Exception:  # noqa: BLE001 - whatever its attributes raise
        return f"a value of the type {type(value).__name__}"


def as_word(path: Path | str) -> str:
    """A path as a word of a command line that can be pasted into a shell."""
    whole, home = Path(path), Path.home()
    if home != Path(home.anchor) and whole.is_relative_to(home):
        return f"~/{shlex.quote(str(whole.relative_to(home)))}"  # a shell replaces ~ only outside quotes
    return shlex.quote(str(whole))
