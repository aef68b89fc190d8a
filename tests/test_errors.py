"""Errors and warnings: what they say cannot act on a terminal, and nothing that they quote can make them fail."""

import pytest

from mflux_teacache import PluginError, PluginWarning
from mflux_teacache.spelling import brief, described


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Faceless:
    def __repr__(self):
        raise RuntimeError("no face")


@pytest.mark.parametrize("kind", [PluginError, PluginWarning])
def test_a_stranger_s_text_is_spelt_out(kind):
    assert str(kind("a\x1b[2Jb\u202ec\nd")) == "a\\x1b[2Jb\\u202ec\nd"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no."), "ValueError: no"),
        (ValueError(), "ValueError"),
        (KeyError("a"), "KeyError: 'a'"),
        (Mute(), "Mute"),
    ],
    ids=["a full stop", "nothing", "a key", "no str"],
)
def test_an_error_in_a_few_words(error, words):
    assert described(error) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(5, "5"), (10**5000, "a value of the type int")],
    ids=["a number", "one beyond printing"],
)
def test_a_value_in_a_few_words(value, words):
    assert brief(value) == words


def test_a_value_without_a_repr():
    assert "Faceless" in brief(Faceless())


def test_a_long_value_is_shortened():
    assert len(brief("x" * 10_000)) < 100
