"""Reading files that a user or a stranger's file names: once, and only regular ones of a sensible size. No mlx."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from mflux_teacache.spelling import brief

# The largest float has 309 digits. Python's time to read a whole number grows with the square of its digits, and beyond
# some length Python refuses, even to print it.
MOST_DIGITS = 1000

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class Unreadable(Exception):
    """A file is not read. The message says why, and is put after the file's name and a colon."""


class NotAFile(Unreadable):
    """The name is that of a folder, a pipe, a device or a socket."""


class TooLarge(Unreadable):
    """The file holds more than is read of such a file."""


def read_text(path: Path, most: int) -> str:
    """All of a UTF-8 file of at most ``most`` bytes.

    Raises:
        Unreadable: it cannot be opened or read, is no regular file, is larger, or is not UTF-8.
    """
    with open_file(path) as file:
        return _decoded(read_bounded(file, most))


def read_text_with(word: str, path: Path, most: int, searched: int) -> str | None:
    """The same for a file that contains a word; ``None`` for one of at most ``searched`` bytes that does not."""
    with open_file(path) as file:
        content = read_bounded(file, searched)
    if word.encode() not in content:
        return None
    if len(content) > most:
        raise _too_large(len(content), most)
    return _decoded(content)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")  # editors on Windows begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is not UTF-8 text ({error.reason} at byte {error.start})") from error


def open_file(path: Path) -> BinaryIO:
    """A regular file, open for reading.

    Raises:
        Unreadable: as for ``read_text``.
    """
    try:
        _refuse_special(path.stat())  # opening a device is harmful enough: it can rewind a tape or wait for a line
        return open(path, "rb", opener=_open_regular)
    except (OSError, ValueError) as error:  # a name with a NUL raises ValueError
        raise Unreadable(reason(error)) from error


def read_bounded(file: BinaryIO, most: int) -> bytes:
    """What is left of an open file; raises as ``read_text`` does."""
    try:
        size = os.fstat(file.fileno()).st_size
        # One byte more than allowed is read: files that grow, and those of /proc, hold more than their size says.
        content: bytes | None = b"" if size > most else file.read(most + 1)
    except OSError as error:
        raise Unreadable(reason(error)) from error
    if content is None:  # some files of /proc are pipes in all but name
        raise Unreadable("it has nothing to be read yet")
    if max(size, len(content)) > most:
        raise _too_large(max(size, len(content)), most)
    return content


def _too_large(size: int, most: int) -> TooLarge:
    return TooLarge(f"it has {_spelt(size)}, and at most {_spelt(most)} are read of such a file")


def reason(error: OSError | ValueError) -> str:
    """In the system's words, without the name of the file."""
    return getattr(error, "strerror", None) or str(error)


def _open_regular(name: str, flags: int) -> int:
    """Open a file and check once more that it is a regular one."""
    # A pipe may have taken its place since the first check, and without O_NONBLOCK opening it would wait for a writer.
    descriptor = os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _refuse_special(os.fstat(descriptor))
    except NotAFile:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for is_kind, words in _KINDS if is_kind(status.st_mode)), "no file")
        raise NotAFile(f"it is {kind}, and only regular files are read")


def _spelt(size: int) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.6g} {name}"
    return f"{size} bytes"


# --- JSON -------------------------------------------------------------------------------------------------------------


def parse_json(text: str) -> Any:
    """The value that a JSON text holds.

    Raises:
        ValueError: it is not JSON, has a whole number of more than 1000 digits, or gives a field twice.
        RecursionError: it is nested deeper than Python can follow.
    """
    return json.loads(text, parse_int=_whole_number, object_pairs_hook=_table)


def levels(value: Any) -> int:
    """How deeply lists and objects are nested in a value; 0 for a plain one."""
    found, level = 0, [value]
    while level := [entry for entry in level if isinstance(entry, dict | list)]:
        found += 1
        level = [inner for entry in level for inner in (entry.values() if isinstance(entry, dict) else entry)]
    return found


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"it has a whole number of {len(digits)} digits, and at most {MOST_DIGITS} are read")
    return int(digits)


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose fields are each given once."""
    # Of two values for one field some programs take the first and some the last, so a reader might see another file.
    table = dict(pairs)
    if len(table) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"it has {brief(twice)} twice in one object")
    return table
