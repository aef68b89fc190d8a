"""Nothing that is printed acts on a terminal, and nothing that cannot be printed costs anything."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.terminal import LONGEST, shortened, spellable, tell, visible, visible_lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ünï 图 🍎", "plain, ünï 图 🍎"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("one\ntwo\r\tthree\b", r"one\ntwo\r\tthree\x08"),
        ("a\x9bb\x7f", r"a\x9bb\x7f"),
        ("\u202eabc\u2066\u200f", r"\u202eabc\u2066\u200f"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\udcff.json", r"\udcff.json"),
        ("a\u200cb, 👩\u200d🚀", "a\u200cb, 👩\u200d🚀"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        (7, "7"),
    ],
)
def test_what_acts_on_a_terminal_is_spelt_out(text, expected):
    assert visible(text) == expected


@given(st.text())
def test_a_visible_text_is_one_line_that_stays_as_it_is(text):
    line = visible(text)
    assert len(line.splitlines()) <= 1
    assert visible(line) == line
    assert visible_lines(f"{text}\n{text}").count("\n") == 1 + 2 * text.count("\n")


@given(st.text(), st.integers(8, 40))
def test_a_long_text_keeps_its_beginning_and_its_end(text, longest):
    short = shortened(text, longest)
    assert len(short) <= max(longest, 8)
    if len(text) > longest:
        assert short.endswith(text[-(longest // 4) :])
        assert text.startswith(short[: longest // 2])
    else:
        assert short == text
    assert shortened("x" * 2 * LONGEST).count("x") == LONGEST - 1


class Full(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Full(OSError(28, "full")), Full(BrokenPipeError()), closed()])
def test_a_stream_that_takes_nothing_costs_nothing(stream):
    assert not tell("a line", stream)


def test_letters_that_an_encoding_lacks_are_spelt_out():
    into = io.BytesIO()
    ascii_only = io.TextIOWrapper(into, encoding="ascii")
    assert tell("přeskok 图", ascii_only)
    assert into.getvalue() == b"p\\u0159eskok \\u56fe\n"
    assert spellable("ä", io.StringIO()) == "ä"
