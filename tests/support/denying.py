"""A folder in which the system denies something, by injection: the tests may run as a user who may do everything."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from unittest import mock

Right = Literal["write", "list", "look at"]

_CALLS: dict[Right, tuple[tuple[Any, str], ...]] = {
    "write": ((os, "mkdir"), (os, "replace"), (os, "unlink"), (io, "open")),
    "list": ((os, "listdir"), (os, "scandir")),
    "look at": ((os, "stat"),),
}


@contextlib.contextmanager
def denied(right: Right, path: Path, number: int = errno.EACCES) -> Iterator[None]:
    """To write to, list or look at a file, or a folder and what is in it, fails.

    Args:
        number: how it fails: no permission, or a disk that is full.
    """
    with contextlib.ExitStack() as stack:
        for module, name in _CALLS[right]:
            call = getattr(module, name)
            stack.enter_context(mock.patch.object(module, name, _refusing(call, path, number)))
        if right == "write" and number == errno.EACCES:
            stack.enter_context(mock.patch.object(os, "access", _asking(os.access, path)))
        yield


def _refusing(call: Callable[..., Any], folder: Path, number: int) -> Callable[..., Any]:
    def refusing(path: Any, *args: Any, **how: Any) -> Any:
        reads = call is io.open and set(how.get("mode", args[0] if args else "r")) <= set("rbt")
        if _is_in(path, folder) and not reads:
            raise OSError(number, os.strerror(number), str(path))
        return call(path, *args, **how)

    return refusing


def _asking(call: Callable[..., bool], folder: Path) -> Callable[..., bool]:
    def asking(path: Any, mode: int, **how: Any) -> bool:
        return not (mode & os.W_OK and _is_in(path, folder)) and call(path, mode, **how)

    return asking


def _is_in(path: Any, folder: Path) -> bool:
    return isinstance(path, str | os.PathLike) and Path(os.fspath(path)).is_relative_to(folder)
