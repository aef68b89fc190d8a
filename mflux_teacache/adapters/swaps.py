"""Changes to somebody else's objects that can be taken back.

What somebody has put on top since stays when ours is taken back; and so does ours beneath it, which must then do
nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

Undo = Callable[[], None]


def attribute(owner: Any, name: str, value: Any) -> Undo:
    """Set an attribute on the object over its class's."""
    missing = object()
    before = vars(owner).get(name, missing)
    setattr(owner, name, value)
    reference = weakref.ref(owner)

    def undo() -> None:
        alive = reference()
        if alive is None or vars(alive).get(name) is not value:
            return
        delattr(alive, name)
        if before is not missing:
            setattr(alive, name, before)

    return undo


def methods(module: Any, replaced: Mapping[str, Callable[..., Any]]) -> Undo:
    """Make a module one of a subclass that differs in these methods only.

    Names and reprs are those of the class itself, and parameters and ``isinstance`` are not touched.
    """
    cls = type(module)
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    ours = type(cls.__name__, (cls,), {**replaced, **names})
    module.__class__ = ours
    reference = weakref.ref(module)

    def undo() -> None:
        alive = reference()
        if alive is not None and type(alive) is ours:
            alive.__class__ = cls

    return undo
