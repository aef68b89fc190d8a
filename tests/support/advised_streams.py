"""What acts say on standard output and error, where they raise nothing of ours."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any

from mflux_teacache.cli.own.main import main
from mflux_teacache.errors import Refused


def announced(act: Callable[[], Any]) -> Callable[[], None]:
    """An act that says on standard error what is wrong: raises that."""

    def acting() -> None:
        wrong = io.StringIO()
        with redirect_stderr(wrong), redirect_stdout(io.StringIO()), suppress(SystemExit):
            act()
        if wrong.getvalue():
            raise Refused(wrong.getvalue())

    return acting


def leaving(act: Callable[[], Any]) -> Callable[[], None]:
    """An act that leaves Python where something is wrong: raises what it says then."""

    def acting() -> None:
        wrong = io.StringIO()
        try:
            with redirect_stderr(wrong):
                act()
        except SystemExit as left:
            if left.code:
                raise Refused(wrong.getvalue()) from None

    return acting


def plugins_page() -> list[str]:
    """The words of ``mflux-teacache plugins``."""
    page = io.StringIO()
    with redirect_stdout(page), suppress(SystemExit):
        main(["plugins"])
    return page.getvalue().split()
