"""Plugins that are nothing but their options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mflux_teacache import hookimpl
from mflux_teacache.plugins import Loaded


def plugin(add: Callable[[Any], Any]) -> Loaded:
    """One of the name p that adds its options so."""

    class P:
        @staticmethod
        @hookimpl
        def mflux_add_options(group: Any) -> None:
            add(group)

    return Loaded("p", P)


def option(**details: Any) -> Loaded:
    """One with the option ``--p-x``, and what argparse is told of it."""
    return plugin(lambda group: group.add_argument("--p-x", **details))
