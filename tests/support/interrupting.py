"""Ctrl-C at a chosen line of the package's own code, or at a random moment."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import mflux_teacache

PACKAGE = str(Path(mflux_teacache.__file__).parent)


class Interrupter:
    """Counts the lines of the package that run while it traces, and raises KeyboardInterrupt at one of them.

    Attributes:
        count: lines so far.
        where: file and line of the interrupt; ``None`` until it comes.
    """

    def __init__(self, at: int | None = None) -> None:
        self.count = 0
        self.where: tuple[str, int] | None = None
        self._at = at

    @contextlib.contextmanager
    def tracing(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        if event == "line":
            self.count += 1
            if self.count == self._at:
                self.where = str(Path(frame.f_code.co_filename).relative_to(PACKAGE)), frame.f_lineno
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._line


@contextlib.contextmanager
def interrupted_at_random(within: float, chance: random.Random) -> Iterator[None]:
    """A real signal at some moment of the next seconds."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-4, within))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
