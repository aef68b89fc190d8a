"""Faults of every kind at every point of ``output_files.replace_file``, each in a child process that is made for it.

Run as a program, it is told which command to run, and puts the faults on each file that the command is about to write::

    python write_faults.py LOG MODULE:FUNCTION NAME ARGUMENT...
"""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mflux_teacache.cli import startup
from mflux_teacache.pieces import output_files

Write = Callable[[Path, bytes], None]

# What a child ends with that was not killed.
WRITTEN, RAISED = 0, 3


class Fault(NamedTuple):
    """One thing that goes wrong.

    Attributes:
        prepare: is called in the child, right before it writes.
        kills: nobody can clean up after it.
    """

    name: str
    prepare: Callable[[], None]
    kills: bool = False


def torment(path: Path, content: bytes, write: Write = output_files.replace_file) -> tuple[int, list[str]]:
    """Try to write under each fault. Returns how many there were, and what was found broken after them."""
    attempt = _Attempt(path, content, write)
    for fault in (*_on_the_disk(len(content)), *_in_calls()):
        if not attempt.under(fault):
            attempt.problems.append(f"{fault.name}: did not occur")
    for kind in (_killed_at, _interrupted_at):
        next(line for line in range(1000) if not attempt.under(kind(line)))
    return attempt.tried, attempt.problems


class _Attempt:
    def __init__(self, path: Path, content: bytes, write: Write) -> None:
        self._path, self._content, self._write = path, content, write
        self._target = Path(os.path.realpath(path))
        self._old = _bytes_of(path)
        self._beside = set(self._target.parent.iterdir())
        self.tried = 0
        self.problems: list[str] = []

    def under(self, fault: Fault) -> bool:
        """Whether the fault occurred at all: after the last line, none does."""
        end = self._in_child(fault)
        if end == WRITTEN:
            self._restore()
            return False
        self.tried += 1
        now, left = _bytes_of(self._path), self._left()
        if now not in (self._old, self._content):
            self.problems.append(f"{fault.name}: {_size(self._old)} have become {_size(now)}")
        if left and not fault.kills:
            self.problems.append(f"{fault.name}: left {[file.name for file in left]}")
        if fault.kills == (end == RAISED):
            self.problems.append(f"{fault.name}: ended with {end}")
        self._restore()
        return True

    def _in_child(self, fault: Fault) -> int:
        child = os.fork()
        if child == 0:
            end = RAISED
            try:
                fault.prepare()
                self._write(self._path, self._content)
                end = WRITTEN
            finally:
                os._exit(end)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def _left(self) -> list[Path]:
        return sorted(set(self._target.parent.iterdir()) - self._beside - {self._target})

    def _restore(self) -> None:
        for file in self._left():
            file.unlink()
        if self._old is None:
            self._target.unlink(missing_ok=True)
        else:
            self._target.write_bytes(self._old)


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _size(content: bytes | None) -> str:
    return "no file" if content is None else f"{len(content)} bytes"


def _on_the_disk(size: int) -> Iterator[Fault]:
    """A file that grows beyond a limit is refused, as on a full disk; or ends the process in the middle of a write."""
    for place in sorted({0, 1, size // 2, 4095, 4096, 4097, size - 1}):
        if 0 <= place < size:
            yield Fault(f"disk full after {place} bytes", lambda place=place: _limit(place))
            yield Fault(f"killed after {place} bytes", lambda place=place: _limit(place, kill=True), kills=True)


def _limit(size: int, *, kill: bool = False) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kill else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _in_calls() -> Iterator[Fault]:
    for call in ("fsync", "replace"):
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBUSY):
            name = f"{errno.errorcode[number]} in {call}"
            yield Fault(name, lambda call=call, number=number: setattr(os, call, _failing(number)))


def _failing(number: int) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def _killed_at(line: int) -> Fault:
    return Fault(f"killed at line {line}", lambda: _at(line, _die), kills=True)


def _interrupted_at(line: int) -> Fault:
    return Fault(f"Ctrl-C at line {line}", lambda: _at(line, _interrupt))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _at(line: int, act: Callable[[], None]) -> None:
    """Act before so many lines of ``output_files`` have been run from now on."""
    run = itertools.count()

    def trace(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != output_files.__file__:
            return None
        if event == "line" and next(run) == line:
            sys.settrace(None)
            act()
        return trace

    sys.settrace(trace)


def main() -> None:
    """What was tried goes to the log, a line of JSON for each file; then the file is written as ever."""
    log, place, *sys.argv = sys.argv[1:]
    module, _, function = place.partition(":")
    write = output_files.replace_file

    def tormented(path: Path, content: bytes) -> None:
        tried, problems = torment(path, content, write)
        with Path(log).open("a") as file:
            print(
                json.dumps({"file": path.name, "old": path.exists(), "tried": tried, "problems": problems}), file=file
            )
        write(path, content)

    output_files.replace_file = tormented  # before anything has imported it from there
    startup.install()
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main()
