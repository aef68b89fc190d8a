"""Options of plugins: flags, keywords, and the values recorded with an image are the same thing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mflux_teacache import hookimpl
from mflux_teacache.errors import BrokenPlugin, OptionError
from mflux_teacache.options import as_json, declare, from_keywords, take
from mflux_teacache.plugins import Loaded


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
    assert vars(from_keywords(SKIPS, json.loads(json.dumps(as_json(options))))) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_exactly(value: float) -> None:
    assert from_keywords(SKIPS, {"thresh": value}).thresh == value


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"tresh": 1},
            "plugin 'my-skip' has no option 'tresh'. It has: file, force, log, mode, numbers, steps, tame, thresh",
        ),
        ({"thresh": "high"}, "plugin 'my-skip': argument --my-skip-thresh: invalid float value: 'high'"),
        ({"mode": "lazy"}, "plugin 'my-skip': argument --my-skip-mode: invalid choice: 'lazy'"),
        ({"force": 1.5}, "--my-skip-force is on or off: True or False, not 1.5"),
        ({"steps": []}, "plugin 'my-skip': argument --my-skip-steps: expected at least one argument"),
    ],
)
def test_wrong_keywords_say_what_is_allowed(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        from_keywords(SKIPS, keywords)
    assert message in str(caught.value)


def test_values_are_taken_out_of_mflux_s_namespace() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int)
    actions = declare(parser, SKIPS)
    namespace = parser.parse_args(["--steps", "7", "--my-skip-thresh", "0.1", "--no-my-skip-log"])
    assert vars(take(namespace, SKIPS, actions)) == DEFAULTS | {"thresh": 0.1, "log": False}
    assert vars(namespace) == {"steps": 7}


def _plugin(add: Any) -> Loaded:
    class P:
        @staticmethod
        @hookimpl
        def mflux_add_options(group: Any) -> None:
            add(group)

    return Loaded("p", P)


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda group: group.add_argument("--steps"), r"plugin 'p': argument --steps: conflicting option string"),
        (lambda group: group.add_argument("--other"), "plugin 'p': option --other does not start with --p-"),
        (lambda group: group.add_argument("--p-ok", "-x"), "plugin 'p': option -x does not start with --p-"),
        (lambda group: group.add_argument("positional"), "plugin 'p': option positional does not start with --p-"),
        (lambda group: 1 / 0, "plugin 'p' failed in mflux_add_options: ZeroDivisionError"),
    ],
)
def test_options_that_would_get_in_the_way_are_refused(add: Any, message: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps")
    with pytest.raises(BrokenPlugin, match=message):
        declare(parser, _plugin(add))


def test_a_hook_on_the_instance_is_explained() -> None:
    class P:
        @hookimpl
        def mflux_add_options(self, group: Any) -> None: ...

    with pytest.raises(BrokenPlugin, match="it must be a staticmethod or classmethod"):
        declare(argparse.ArgumentParser(), Loaded("p", P))


def test_a_plugin_without_options_has_none() -> None:
    assert declare(argparse.ArgumentParser(), Loaded("p", type("P", (), {}))) == []
