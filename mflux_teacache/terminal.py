"""Text on its way to a terminal: it cannot act on the terminal, and a stream that does not take it costs nothing.

What is printed holds names and values of files, packages and plugins that anybody may have written.
"""

from __future__ import annotations

TYPE_CHECKING = False  # imported at the start of every mflux command, where typing alone would cost milliseconds
if TYPE_CHECKING:
    from typing import TextIO

# Longer than any message of ours with all that it lists.
LONGEST = 4000

# Two format characters that words of some languages need; the others turn or hide text.
_JOINERS = "\u200c\u200d"


def visible(text: object) -> str:
    """On one line, with every character that would act on a terminal spelt out, such as ``\\x1b`` or ``\\u202e``."""
    line = str(text)
    return line if line.isprintable() else "".join(map(_spelt_out, line))


def visible_lines(text: str) -> str:
    """As ``visible``, with its lines as they are."""
    return "\n".join(map(visible, text.split("\n")))


def shortened(text: str, longest: int = LONGEST) -> str:
    """With an ellipsis for the middle where it is longer: what to do stands at the end of a message."""
    if len(text) <= longest:
        return text
    end = longest // 4
    return f"{text[: longest - end - 1]}…{text[-end:]}"


def tell(text: str, stream: TextIO | None) -> bool:
    """Print to a stream that may be full, closed, gone, missing, or unable to spell some letters.

    Returns:
        Whether it was printed.
    """
    if stream is None:  # Python's own, where the process was started with it closed
        return False
    try:
        print(spellable(text, stream), file=stream, flush=True)
    except (OSError, ValueError):  # the second: it is closed
        return False
    return True


def spellable(text: str, stream: TextIO) -> str:
    """With what the stream's encoding lacks spelt out, such as an accent on a terminal that is told to be ASCII."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _spelt_out(character: str) -> str:
    from unicodedata import category

    kind = category(character)
    acts = kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in _JOINERS)
    return character.encode("unicode_escape").decode("ascii") if acts else character
