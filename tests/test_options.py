"""Options of plugins: flags, keywords, and the values recorded with an image are the same thing."""

from __future__ import annotations

import argparse
import decimal
import enum
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import one_option
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache import PluginWarning, hookimpl
from mflux_teacache.errors import OptionError
from mflux_teacache.image_record.read import parse
from mflux_teacache.options import Declared, as_json, from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.words import is_json


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


class Skips:
    @staticmethod
    @hookimpl
    def mflux_add_options(group: Any) -> None:
        group.add_argument("--my-skip-thresh", type=float, default=0.5)
        group.add_argument("--my-skip-mode", choices=["fast", "slow"], default="fast")
        group.add_argument("--my-skip-file", type=Path)
        group.add_argument("--my-skip-force", action="store_true")
        group.add_argument("--my-skip-tame", action="store_false")
        group.add_argument("--my-skip-log", action=argparse.BooleanOptionalAction, default=True)
        group.add_argument("--my-skip-numbers", type=_numbers)
        group.add_argument("--my-skip-steps", type=int, nargs="+", default=[1])


SKIPS = Loaded("my-skip", Skips)
DEFAULTS = {
    "thresh": 0.5, "mode": "fast", "file": None, "force": False,
    "tame": True, "log": True, "numbers": None, "steps": [1],
}  # fmt: skip


def test_defaults() -> None:
    assert vars(from_keywords(SKIPS, {})) == DEFAULTS


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("thresh", 0.25), ("thresh", -3e-7), ("thresh", 2), ("mode", "slow"), ("file", Path("a b.json")),
        ("force", True),
        ("force", False), ("tame", False), ("tame", True), ("log", False), ("log", True), ("numbers", [-1.5, 2e-9]),
        ("steps", [3, 4, 5]), ("thresh", None),
    ],
)  # fmt: skip
def test_keywords_and_recorded_values_come_back(keyword: str, value: Any) -> None:
    options = from_keywords(SKIPS, {keyword: value})
    expected = DEFAULTS | ({} if value is None else {keyword: value})
    assert vars(options) == expected
    assert vars(_again(SKIPS, options)) == expected


def _again(plugin: Loaded, options: argparse.Namespace) -> argparse.Namespace:
    """As a sidecar brings them back."""
    recorded = {"schema": 1, "plugins": {plugin.name: {"options": as_json(options)}}}
    return from_keywords(plugin, parse(json.loads(json.dumps(recorded, allow_nan=False))).options[plugin.name])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_exactly(value: float) -> None:
    assert from_keywords(SKIPS, {"thresh": value}).thresh == value


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"tresh": 1},
            "plugin 'my-skip' has no option 'tresh'. It has: file, force, log, mode, numbers, steps, tame, thresh. Did "
            "you mean thresh?",
        ),
        ({"thresh": "high"}, "plugin 'my-skip': argument --my-skip-thresh: invalid float value: 'high'"),
        ({"mode": "lazy"}, "plugin 'my-skip': argument --my-skip-mode: invalid choice: 'lazy'"),
        ({"force": 1.5}, "--my-skip-force is on or off: True or False, not 1.5"),
        ({"thresh": True}, "--my-skip-thresh takes a value; True says only on or off"),
        ({"steps": []}, "plugin 'my-skip': argument --my-skip-steps: expected at least one argument"),
    ],
)
def test_wrong_keywords_say_what_is_allowed(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        from_keywords(SKIPS, keywords)
    assert message in str(caught.value)


# --- whatever argparse knows comes back from a record -------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Shade(enum.StrEnum):
    DARK = "dark"


class _Twice(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, values * 2)


# An option, the words that give it, and its value.
GIVEN: dict[str, tuple[dict[str, Any], list[str], Any]] = {
    "a number": ({"type": float}, ["--p-x=-1e-7"], -1e-7),
    "a text": ({}, ["--p-x", "a,b c=d"], "a,b c=d"),
    "an empty text": ({}, ["--p-x="], ""),
    "infinite": ({"type": float}, ["--p-x=inf"], math.inf),
    "Decimal": ({"type": decimal.Decimal}, ["--p-x=0.10"], decimal.Decimal("0.10")),
    "Path": ({"type": Path}, ["--p-x=a/b.json"], Path("a/b.json")),
    "bytes": ({"type": str.encode}, ["--p-x=ab"], b"ab"),
    "a set": ({"type": lambda text: set(text.split(","))}, ["--p-x=a,b"], {"a", "b"}),
    "a dict": ({"type": json.loads}, ['--p-x={"a": 1}'], {"a": 1}),
    "numpy": ({"type": np.float32}, ["--p-x=0.1"], np.float32(0.1)),
    "an array": ({"type": lambda text: np.array(text.split(","), dtype=float)}, ["--p-x=1,2"], np.array([1.0, 2.0])),
    "Enum": ({"type": Colour}, ["--p-x=red"], Colour.RED),
    "IntEnum": ({"type": lambda text: Level[text]}, ["--p-x=HIGH"], Level.HIGH),
    "StrEnum": ({"type": Shade}, ["--p-x=dark"], Shade.DARK),
    "a share": ({"type": lambda text: float(text.removesuffix("%")) / 100}, ["--p-x=20%"], 0.2),
    "a complex number": ({"type": complex}, ["--p-x=1+2j"], 1 + 2j),
    "a flag": ({"action": "store_true"}, ["--p-x"], True),
    "a flag that is off": ({"action": "store_false"}, ["--p-x"], False),
    "both forms": ({"action": argparse.BooleanOptionalAction}, ["--no-p-x"], False),
    "a constant": ({"action": "store_const", "const": 5}, ["--p-x"], 5),
    "an odd constant": ({"action": "store_const", "const": {1}, "default": {2}}, ["--p-x"], {1}),
    "counted": ({"action": "count", "default": 0}, ["--p-x", "--p-x"], 2),
    "counted from a default": ({"action": "count", "default": 3}, ["--p-x", "--p-x"], 5),
    "repeated": ({"action": "append"}, ["--p-x=a", "--p-x=b"], ["a", "b"]),
    "repeated after a default": ({"action": "append", "type": int, "default": [1]}, ["--p-x=2"], [1, 2]),
    "repeated pairs": (
        {"action": "append", "nargs": 2}, ["--p-x", "a", "1", "--p-x", "b", "2"], [["a", "1"], ["b", "2"]],
    ),
    "repeated without a value": (
        {"action": "append", "nargs": "?", "const": "c"}, ["--p-x", "--p-x=d"], ["c", "d"],
    ),
    "repeated constants": ({"action": "append_const", "const": 7}, ["--p-x", "--p-x"], [7, 7]),
    "extended": ({"action": "extend", "nargs": "+", "type": int}, ["--p-x", "1", "2", "--p-x", "3"], [1, 2, 3]),
    "several": ({"nargs": "+", "type": int}, ["--p-x", "-1", "-2"], [-1, -2]),
    "none of several": ({"nargs": "*", "default": ["a"]}, ["--p-x"], []),
    "exactly one in a list": ({"nargs": 1}, ["--p-x=-a"], ["-a"]),
    "whatever follows": ({"nargs": argparse.REMAINDER}, ["--p-x", "a", "--b"], ["a", "--b"]),
    "without its value": ({"nargs": "?", "const": 3, "default": 1, "type": int}, ["--p-x"], 3),
    "with its value": ({"nargs": "?", "const": 3, "default": 1, "type": int}, ["--p-x=2"], 2),
    "an action of its own": ({"action": _Twice}, ["--p-x=ab"], "abab"),
}  # fmt: skip


def _taken(plugin: Loaded, words: list[str], complete: bool = True) -> argparse.Namespace:
    """What a command line with these words comes to."""
    from mflux_teacache.words import read

    parser = argparse.ArgumentParser(allow_abbrev=False)
    declared = Declared(plugin)
    declared.put_on(parser)
    return declared.take(declared.said_in(read(parser, words).given).given, complete=complete)


@pytest.mark.parametrize("case", GIVEN)
def test_what_is_given_is_recorded_as_json_that_brings_it_back(case: str) -> None:
    details, words, value = GIVEN[case]
    plugin = one_option.option(**details)
    options = _taken(plugin, words)
    assert type(options.x) is type(value)
    assert np.array_equal(options.x, value)
    assert np.array_equal(_again(plugin, options).x, value)


DEFAULT: dict[str, dict[str, Any]] = {
    "no default": {},
    "a text that the type reads": {"type": int, "default": "3"},
    "one that the type would not allow": {"type": int, "choices": (1, 2), "default": -1},
    "repeated": {"action": "append", "default": ["a"]},
    "counted": {"action": "count", "default": 2},
    "a path": {"type": Path, "default": Path("a.json")},
    "a Decimal": {"type": decimal.Decimal, "default": decimal.Decimal("0.1")},
    "NaN": {"type": float, "default": math.nan},
    "suppressed": {"default": argparse.SUPPRESS},
}


@pytest.mark.parametrize("case", DEFAULT)
def test_a_default_comes_back(case: str) -> None:
    plugin = one_option.option(**DEFAULT[case])
    options = from_keywords(plugin, {})
    again = _again(plugin, options)
    assert options.x == again.x or (math.isnan(options.x) and math.isnan(again.x))


def test_a_default_that_no_text_gives_is_left_out_with_a_word() -> None:
    sentinel = object()
    with pytest.warns(PluginWarning, match=r"^plugin 'p': --p-x is <object .*>, which no text .*recorded"):
        options = from_keywords(one_option.option(default=sentinel), {})
    assert options.x is sentinel
    assert as_json(options) == {}


def test_what_a_plugin_makes_of_its_options_later_cannot_hurt() -> None:
    options = from_keywords(SKIPS, {"thresh": 0.25})
    options.mode, options.extra = object(), {1}
    assert as_json(options) == {
        key: value for key, value in (DEFAULTS | {"thresh": 0.25}).items() if key not in ("mode",)
    }


@pytest.mark.parametrize("value", [None, "a", True, 3, -0.5, [1, "a", None], (1.5,), [[1, 2], ["a"]], 10**300])
def test_values_that_may_be_recorded(value: Any) -> None:
    assert is_json(value)
    json.loads(json.dumps(value, allow_nan=False))


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {1}, {"a": 1}, b"a", np.float64(1), Level.HIGH, Shade.DARK, [[[1]]], LOOP, 10**5000],
    ids=lambda value: type(value).__name__,
)
def test_values_that_may_not(value: Any) -> None:
    assert not is_json(value)


@pytest.mark.parametrize("name", ["self", "from", "x-records", "_records", "values", "1"])
def test_any_name_will_do(name: str) -> None:
    plugin = one_option.plugin(lambda group: group.add_argument(f"--p-{name}", type=int))
    keyword = name.replace("-", "_")
    options = from_keywords(plugin, {keyword: 3})
    assert vars(options) == {keyword: 3}
    assert vars(_again(plugin, options)) == {keyword: 3}


# --- what options are to each other, and to the parser that they are put on -----------------------------------------


def test_what_is_required_is_named_unless_it_may_still_come() -> None:
    def add(group: Any) -> None:
        group.add_argument("--p-x", required=True)
        one_of = group.add_mutually_exclusive_group(required=True)
        one_of.add_argument("--p-a")
        one_of.add_argument("--p-b")

    declared = Declared(one_option.plugin(add))
    assert vars(declared.take([], complete=False)) == {"x": None, "a": None, "b": None}
    with pytest.raises(OptionError, match="^the following arguments are required: --p-x$"):
        declared.take([])
    with pytest.raises(OptionError, match="^one of the arguments --p-a --p-b is required$"):
        declared.take(declared.given({"x": "1"}))


def test_options_that_exclude_each_other() -> None:
    def add(group: Any) -> None:
        one_of = group.add_mutually_exclusive_group()
        one_of.add_argument("--p-a")
        one_of.add_argument("--p-b")

    declared = Declared(one_option.plugin(add))
    assert [[action.dest for action in group] for group in declared.exclusive] == [["p_a", "p_b"]]
    with pytest.raises(OptionError, match="argument --p-b: not allowed with argument --p-a"):
        declared.take(declared.given({"a": "1", "b": "2"}))


def test_what_a_plugin_does_to_its_parser_stays_there() -> None:
    def add(group: Any) -> None:
        group.add_argument("--p-x", dest="steps")
        group.set_defaults(steps=7, seed=3)

    declared = Declared(one_option.plugin(add))
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    declared.put_on(parser)
    assert vars(parser.parse_args(["--p-x", "5"])) == {"steps": 20}
    assert vars(declared.take([])) == {"x": 7}


def test_odd_options_are_shown_in_mflux_s_help() -> None:
    def add(group: Any) -> None:
        group.add_mutually_exclusive_group()
        group.add_argument("--p-share", help="of 50% or more (default: %(default)s)", default=3)
        group.add_argument("--p-all", choices=range(3), nargs=2, metavar=("A", "B"), help="100%")
        group.add_argument("--p-hidden", help=argparse.SUPPRESS)

    parser = argparse.ArgumentParser("mflux-generate")
    Declared(one_option.plugin(add)).put_on(parser)
    helped = " ".join(parser.format_help().split())
    assert "--p-share P_SHARE of 50% or more (default: %(default)s) --p-all A B 100%" in helped
    assert "hidden" not in helped


def test_choices_without_end_cost_nothing_where_they_are_not_shown() -> None:
    class Even:
        def __contains__(self, value: int) -> bool:
            return value % 2 == 0

        def __iter__(self) -> Any:
            raise AssertionError("nobody asked")

    options = _taken(one_option.option(type=int, choices=Even()), ["--p-x=4"])
    assert options.x == 4


def test_a_plugin_without_options_has_none() -> None:
    assert Declared(Loaded("p", type("P", (), {}))).actions == []


def test_reading_options_warns_of_nothing_else() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_keywords(one_option.option(type=lambda text: np.array([float(text)])), {"x": "1"})
