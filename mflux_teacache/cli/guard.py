"""Judges a pipeline when mflux begins to make one: its class and arguments are known, its weights are not loaded."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from mflux_teacache.adapters.signatures import bind
from mflux_teacache.cli.startup import AfterImport

Check = Callable[[type, Mapping[str, Any]], None]

MODELS = "mflux.models."


def watch(check: Check) -> None:
    """Call ``check(class, arguments of __init__)`` before any of mflux's pipelines is built, imported now or later."""

    def guard_module(module: ModuleType) -> None:
        for cls in pipelines_of(module):
            guard(cls, check)

    for name, module in list(sys.modules.items()):
        if name.startswith(MODELS):
            guard_module(module)
    sys.meta_path.insert(0, AfterImport(lambda name: name.startswith(MODELS), guard_module))


def pipelines_of(module: ModuleType) -> list[type]:
    """The classes that a module defines and that make images."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "generate_image")
    ]


def guard(cls: type, check: Check) -> None:
    """Let ``check`` judge before ``cls.__init__``."""
    original: Callable[..., None] = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self) is cls:  # the __init__ of a subclass that got here was guarded too
            check(cls, bind(signature, (self, *args), kwargs))
        original(self, *args, **kwargs)

    cls.__init__ = __init__  # type: ignore[misc]
