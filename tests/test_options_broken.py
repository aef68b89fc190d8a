"""Plugins whose options are broken: refused by the plugin's name, as they are declared or as they are read."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import pytest
from one_option import option, plugin

from mflux_teacache import hookimpl
from mflux_teacache.errors import BrokenPlugin, OptionError
from mflux_teacache.options import Declared, from_keywords
from mflux_teacache.plugins import Loaded
from mflux_teacache.words import Given


def _raises(error: BaseException) -> Any:
    def raising(*_: Any) -> Any:
        raise error

    return raising


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda group: group.add_argument("--other"), "plugin 'p': option --other does not start with --p-"),
        (lambda group: group.add_argument("--p-ok", "-x"), "plugin 'p': option -x does not start with --p-"),
        (lambda group: group.add_argument("positional"), "plugin 'p': option positional does not start with --p-"),
        (lambda group: group.add_argument("--p-"), "plugin 'p': option --p- has no name of its own"),
        (
            lambda group: (group.add_argument("--p-a-b"), group.add_argument("--p-a_b")),
            "plugin 'p': option --p-a_b has the keyword of another one, a_b",
        ),
        (
            lambda group: (group.add_argument("--p-a"), group.add_argument("--p-a")),
            "plugin 'p': argument --p-a: conflicting option string: --p-a. Its authors must rename that option.",
        ),
        (
            lambda group: group.add_argument("--p-x", nargs=3, metavar=("A", "B")),
            "plugin 'p': option --p-x has nargs 3 and metavar ('A', 'B'), which do not fit (",
        ),
        (
            lambda group: group.add_argument("--p-x", nargs="many"),
            "plugin 'p': option --p-x has nargs 'many' and metavar None, which do not fit (",
        ),
        (lambda group: 1 / 0, "plugin 'p' failed in mflux_add_options: ZeroDivisionError: division by zero. The hook"),
        (lambda group: sys.exit(5), "plugin 'p' failed in mflux_add_options: SystemExit: 5. The hook is called on the"),
    ],
)
def test_options_that_would_get_in_the_way_are_refused(add: Any, message: str) -> None:
    with pytest.raises(BrokenPlugin) as caught:
        Declared(plugin(add))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("details", "words", "message"),
    [
        (
            {"type": _raises(ZeroDivisionError("division by zero"))}, ("1",),
            "plugin 'p' failed to read --p-x '1': ZeroDivisionError: division by zero. Give another value, leave it",
        ),
        ({"type": _raises(KeyError("a"))}, ("1",), "plugin 'p' failed to read --p-x '1': KeyError: 'a'. "),
        ({"type": _raises(SystemExit(3))}, ("1",), "plugin 'p' failed to read --p-x '1': SystemExit: 3. "),
        (
            {"type": int, "default": "many"}, None,
            "plugin 'p' failed to read the default of --p-x 'many': ArgumentError: argument --p-x: invalid int value",
        ),
        (
            {"type": _raises(ZeroDivisionError("division by zero")), "default": "1"}, None,
            "plugin 'p' failed to read the default of --p-x '1': ZeroDivisionError: division by zero. Give another "
            "value, or report",
        ),
        ({"action": "version", "version": "1"}, (), "plugin 'p' failed to read its options ('--p-x'): SystemExit: 0"),
        (
            {"action": type("Fails", (argparse.Action,), {"__call__": _raises(ValueError("no"))})}, ("1",),
            "plugin 'p' failed to read its options ('--p-x=1'): ValueError: no. ",
        ),
    ],
)  # fmt: skip
def test_options_that_fail_as_they_are_read_name_theplugin(details: Any, words: Any, message: str, capsys: Any) -> None:
    declared = Declared(option(**details))
    [action] = declared.actions
    with pytest.raises(BrokenPlugin) as caught:
        declared.take([] if words is None else [Given(action, "--p-x", words)])
    assert str(caught.value).startswith(message)


def test_a_type_refuses_as_argparse_would_have_it() -> None:
    with pytest.raises(OptionError, match=r"^plugin 'p': argument --p-x: 'a' is odd$"):
        from_keywords(option(type=_raises(argparse.ArgumentTypeError("'a' is odd"))), {"x": "a"})


def test_a_hook_on_the_instance_is_explained() -> None:
    class P:
        @hookimpl
        def mflux_add_options(self, group: Any) -> None: ...

    with pytest.raises(BrokenPlugin, match="it must be a staticmethod or classmethod"):
        Declared(Loaded("p", P))
