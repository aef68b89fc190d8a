"""How messages reach a terminal: in one line each, harmless, and at no cost for anything."""

from __future__ import annotations

import io
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mflux.utils.exceptions import StopImageGenerationException

from mflux_teacache.errors import HookFailed, NotWritten, PluginError, PluginWarning, Refused
from mflux_teacache.messages import interruptible, reported, show_warnings, spellable, tell
from mflux_teacache.spelling import LONGEST, shortened, visible, visible_lines


@pytest.mark.parametrize("kind", [Refused, PluginError])
def test_a_refusal_is_one_line_and_exit_code_2(capsys, kind):
    with pytest.raises(SystemExit) as leaving, reported("mflux-generate"):
        raise kind("no. Do this.")
    assert leaving.value.code == 2
    assert capsys.readouterr() == ("", "mflux-generate: error: no. Do this.\n")


def test_a_file_that_could_not_be_written_is_one_line_and_exit_code_1(capsys):
    with pytest.raises(SystemExit) as leaving, reported("mflux-teacache"):
        raise NotWritten("no room.")
    assert leaving.value.code == 1
    assert capsys.readouterr() == ("", "mflux-teacache: error: no room.\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopImageGenerationException])
def test_ctrl_c_is_one_line_and_a_shell_s_exit_code(capsys, error):
    with pytest.raises(SystemExit) as leaving, interruptible("mflux-teacache"):
        raise error
    assert leaving.value.code == 130
    assert capsys.readouterr() == ("", "\nmflux-teacache: interrupted\n")


def test_ctrl_c_has_the_notes_of_what_is_kept(capsys):
    error = KeyboardInterrupt()
    error.add_note("3 images are kept\x1b.")
    error.add_note("Go on.")
    with pytest.raises(SystemExit), interruptible("mflux-teacache"):
        raise error
    assert capsys.readouterr().err == "\nmflux-teacache: interrupted: 3 images are kept\\x1b. Go on.\n"


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_what_is_no_ctrl_c_passes_through(capsys, error):
    with pytest.raises(error), interruptible("mflux-teacache"):
        raise error
    assert capsys.readouterr() == ("", "")


def test_a_failed_hook_shows_the_plugins_traceback_first_and_exit_code_1(capsys):
    cause = RuntimeError("out of luck")
    with pytest.raises(SystemExit) as leaving, reported("mflux-generate"):
        raise HookFailed("fails", "mflux_step_start", 3, cause) from cause
    assert leaving.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    before, _, message = err.partition("mflux-generate: error: ")
    assert before.strip() == "RuntimeError: out of luck"
    assert message.startswith("plugin 'fails' failed in mflux_step_start at step 3: RuntimeError: out of luck. ")
    assert message.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_everything_else_passes_through(capsys, error):
    with pytest.raises(error), reported("mflux-generate"):
        raise error
    assert capsys.readouterr() == ("", "")


def test_warnings_of_ours_are_one_line_and_others_as_before(monkeypatch, capsys):
    others = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *place: others.append(str(message)))
    show_warnings("mflux-generate")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("look out", PluginWarning, stacklevel=1)
        warnings.warn("mflux's own", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "mflux-generate: warning: look out\n"
    assert others == ["mflux's own"]


# --- What a text may hold, and a stream may take ---


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
