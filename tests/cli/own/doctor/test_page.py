"""The page: as text, as JSON, and without the name of its user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mflux_teacache.addresses import REPOSITORY, page
from mflux_teacache.cli.own.doctor.page import Part, as_json, as_text

HOME = Path("/Users/rosa")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: HOME)


PARTS = [
    Part("one", {"first": "1", "the second": "/Users/rosa/x and /Users/rosalind/x"}),
    Part("two", {}, ["it is broken in /Users/rosa. Do this.", "word " * 40]),
]


def test_the_text_begins_with_what_is_broken():
    assert as_text(PARTS).splitlines() == [
        "2 broken",
        "",
        " 1. it is broken in ~. Do this.",
        "",
        " 2." + " word" * 23,
        "   " + " word" * 17,
        "",
        f"help    {page('troubleshooting')}",
        f"issues  {REPOSITORY}/issues",
        "",
        "ONE",
        "first       1",
        "the second  ~/x and /Users/rosalind/x",
        "",
        "TWO",
        "none",
    ]
    assert as_text(PARTS[:1]).startswith("nothing is broken\n")


def test_json_says_the_same():
    assert json.loads(as_json(PARTS)) == {
        "broken": ["it is broken in ~. Do this.", "word " * 40],
        "one": {"first": "1", "the second": "~/x and /Users/rosalind/x"},
        "two": {},
    }


def test_what_a_package_says_cannot_act_on_a_terminal():
    part = Part("odd", {"a\x1b[2J": "b\nc"}, ["d\u202ee"])
    assert all(line.isprintable() for line in as_text([part]).splitlines())
    assert as_json([part]).isascii()


def test_a_home_that_is_the_root_of_everything_is_no_name(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert "/opt/it" in as_text([Part("one", {"where": "/opt/it"})])
