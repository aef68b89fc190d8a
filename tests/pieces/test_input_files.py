"""What is read is a regular file of bounded size: nothing else is opened, waited for, or taken into memory."""

import os
import socket
import sys
import tracemalloc
from pathlib import Path

import pytest

from mflux_teacache.pieces import input_files
from mflux_teacache.pieces.input_files import NotAFile, TooLarge, Unreadable, open_file, read_text, read_text_with

MOST = 1000


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("content", [b"", "é\n".encode(), b"x" * MOST])
def test_a_file_is_read_whole(content):
    Path("a").write_bytes(content)
    assert read_text(Path("a"), MOST) == content.decode()


def test_a_word_is_looked_for_in_a_file_of_bounded_size():
    Path("a").write_bytes(b"x" * 100 + b"needle")
    assert read_text_with("needle", Path("a"), 106, 106) == "x" * 100 + "needle"
    assert read_text_with("needles", Path("a"), 5, 106) is None
    for most, searched in ((106, 105), (105, 106)):
        with pytest.raises(TooLarge, match="it has 106 bytes, and at most 105 bytes are read"):
            read_text_with("needle", Path("a"), most, searched)


def test_a_byte_order_mark_is_none_of_the_text():
    Path("a").write_bytes(b"\xef\xbb\xbfa")
    assert read_text(Path("a"), MOST) == "a"


def special(kind):
    path = Path("special")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        os.mkfifo("pipe")
        path.symlink_to("pipe")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        return Path(kind)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("folder", "a folder"),
        ("pipe", "a pipe"),
        ("link", "a pipe"),
        ("socket", "a socket"),
        ("/dev/zero", "a device"),
        ("/dev/null", "a device"),
        ("/dev/ptmx", "a device"),
    ],
)
def test_nothing_but_a_file_is_even_opened(kind, words, monkeypatch):
    path = special(kind)
    monkeypatch.setattr(os, "open", None)
    with pytest.raises(NotAFile, match=f"^it is {words}, and only regular files are read$"):
        read_text(path, MOST)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(monkeypatch):
    """Between looking and opening."""
    os.mkfifo("pipe")
    Path("a").touch()
    status = Path("a").stat()
    monkeypatch.setattr(Path, "stat", lambda path: status)
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with pytest.raises(NotAFile, match="it is a pipe"):
        open_file(Path("pipe"))
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none", "No such file or directory"),
        ("a/b", "Not a directory"),
        ("a" * 300, "File name too long"),
        ("a\0", "embedded null byte"),
        ("\ud800", "surrogates not allowed"),
        ("loop", "Too many levels of symbolic links"),
    ],
)
def test_what_cannot_be_opened_is_told_in_the_system_s_words(path, message):
    Path("a").touch()
    Path("loop").symlink_to("loop")
    with pytest.raises(Unreadable, match=message):
        read_text(Path(path), MOST)


def test_what_is_no_text():
    Path("a").write_bytes(b"ab\xff")
    with pytest.raises(Unreadable, match=r"it is not UTF-8 text \(invalid start byte at byte 2\)"):
        read_text(Path("a"), MOST)


@pytest.mark.parametrize(
    ("size", "words"),
    [(MOST + 1, r"1\.001 kB"), (2_340_000, r"2\.34 MB"), (50 * 10**9, "50 GB")],
)
def test_a_large_file_is_not_read(size, words):
    with Path("a").open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    with pytest.raises(TooLarge, match=f"^it has {words}, and at most 1 kB are read of such a file$"):
        read_text(Path("a"), MOST)
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


def test_a_file_that_has_more_than_it_says():
    """Those of /proc say 0; and one may grow while it is read."""

    class Growing:
        def __init__(self, file):
            self._file = file

        def fileno(self):
            return self._file.fileno()

        def read(self, size):
            assert size == MOST + 1
            return b"x" * size

    Path("a").touch()
    with open_file(Path("a")) as file, pytest.raises(TooLarge, match="it has 1\\.001 kB, and at most 1 kB"):
        input_files.read_bounded(Growing(file), MOST)
    if sys.platform == "linux":
        assert read_text(Path("/proc/self/status"), 100_000).startswith("Name:")


def test_a_file_that_would_make_wait():
    """Such as /proc/kmsg, of which more is to come."""

    class Waiting:
        def fileno(self):
            return os.open("a", os.O_RDONLY)

        def read(self, size):
            return None

    Path("a").touch()
    with pytest.raises(Unreadable, match="^it has nothing to be read yet$"):
        input_files.read_bounded(Waiting(), MOST)


def test_a_file_that_cannot_be_read_after_all():
    class Broken:
        def fileno(self):
            return os.open("a", os.O_RDONLY)

        def read(self, size):
            raise OSError(5, "Input/output error")

    Path("a").touch()
    with pytest.raises(Unreadable, match="^Input/output error$"):
        input_files.read_bounded(Broken(), MOST)
