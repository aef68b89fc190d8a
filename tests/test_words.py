"""A command line is read as the parser that will parse it reads it."""

from __future__ import annotations

import argparse
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache.errors import OptionError
from mflux_teacache.words import Given, Line, keywords_among, read


class Noting(argparse.Action):
    """What argparse itself calls."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        words = values if isinstance(values, list) else [] if values is None else [values]
        namespace.seen.append((self.dest, option_string, tuple(words)))


def parser(shortened: bool, action: Any = Noting) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("test", allow_abbrev=shortened, add_help=False)
    for names, nargs in {
        ("--one", "-o"): None,
        ("--other",): None,
        ("--flag", "-f"): 0,
        ("--flag-two", "-F"): 0,
        ("--some", "--same"): "+",
        ("--any",): "*",
        ("--maybe", "-m"): "?",
        ("--pair",): 2,
        ("--no-one",): 0,
    }.items():
        made.add_argument(*names, nargs=nargs, action=action)
    return made


WORDS = [
    "--one", "--on", "--o", "--one=a", "--on=a", "-o", "-oa", "-fo", "-foa", "-fF", "--other", "--oth", "--flag",
    "--fla", "--flag-t", "--some", "--sa", "--any", "--an", "--maybe", "-m", "-ma", "--pair", "--no-one", "--no", "--",
    "-", "a", "-1", "-1.5", "a b", "--x", "--x=1", "-x", "--flag=1", "-f=1", "",
]  # fmt: skip


def by_argparse(shortened: bool, argv: list[str]) -> tuple[list[Any], list[str]] | None:
    """``None`` where it refuses."""
    made = parser(shortened)
    made.error = lambda message: (_ for _ in ()).throw(argparse.ArgumentError(None, message))
    namespace = argparse.Namespace(seen=[])
    try:
        _, rest = made.parse_known_args(argv, namespace)
    except argparse.ArgumentError:
        return None
    return namespace.seen, rest


def agrees(shortened: bool, argv: list[str]) -> None:
    line = read(parser(shortened), argv)
    expected = by_argparse(shortened, argv)
    assert (line.problem is None) == (expected is not None)
    if expected is not None:
        assert ([(each.action.dest, each.option, each.words) for each in line.given], line.unknown) == expected


@pytest.mark.parametrize("seed", range(20))
def test_any_words_are_read_as_argparse_reads_them(seed: int) -> None:
    chosen = random.Random(seed)
    for _ in range(100):
        agrees(chosen.random() < 0.5, chosen.choices(WORDS, k=chosen.randrange(7)))


@given(st.booleans(), st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=6)), max_size=6))
def test_any_text_is_read_as_argparse_reads_it(shortened: bool, argv: list[str]) -> None:
    agrees(shortened, argv)


def test_nothing_is_converted_required_or_printed(capsys: Any) -> None:
    made = argparse.ArgumentParser("test")
    made.add_argument("--count", type=int, choices=[1], required=True)
    made.add_argument("--version", action="version", version="1")
    commands = made.add_subparsers(required=True)
    commands.add_parser("go").add_argument("--fast")
    line = read(made, ["--version", "--count", "many", "--help", "go", "--fast"])
    assert [(each.option, each.words) for each in line.given] == [
        ("--version", ()), ("--count", ("many",)), ("--help", ()), ("", ("go", "--fast")),
    ]  # fmt: skip
    assert (line.problem, line.asks_for_help, capsys.readouterr()) == (None, True, ("", ""))


def test_what_comes_before_a_problem_is_read() -> None:
    line = read(parser(False), ["--flag", "--one"])
    assert [each.option for each in line.given] == ["--flag"]
    assert (line.problem, line.about) == ("argument --one/-o: expected one argument", ("--one", "-o"))


def test_unknown_options_are_those_that_no_value_is() -> None:
    line = read(parser(False), ["--one", "a", "--x=1", "b", "-y", "--z", "--", "--w"])
    assert line.unknown_options == ["--x", "--z"]


def test_what_is_given_is_told_by_the_parser_s_own_action() -> None:
    made = parser(False)
    [action] = [action for action in made._actions if "--one" in action.option_strings]
    assert read(made, ["--one=a"]) == Line([Given(action, "--one", ("a",))])


def test_other_words_are_left() -> None:
    words = ["--calm-size", "1", "--steps=4", "x", "--calmer-y"]
    assert keywords_among("calm", words) == ({"size": "1"}, ["--steps=4", "x", "--calmer-y"])
    assert keywords_among(None, words) == ({}, words)


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(OptionError, match="--teacache-thresh gives thresh once more, which was 0.2. Leave one of them"):
        keywords_among("teacache", ["--teacache-thresh=0.2", "--teacache-thresh", "0.3"])
