"""How plugins speak to the user of a command: one line for a refusal, a failure or a warning, and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from mflux_teacache.errors import HookFailed, NotWritten, PluginError, PluginWarning, is_interruption
from mflux_teacache.terminal import shortened, spellable, tell, visible, visible_lines

REFUSED = 2
FAILED = 1
INTERRUPTED = 130  # a shell's number for a program that Ctrl-C has ended


def say(command: str, kind: str, message: object) -> None:
    """``<command>: <kind>: <message>`` on stderr, in one line."""
    tell(f"{visible(command)}: {kind}: {shortened(visible(message))}", sys.stderr)


@contextlib.contextmanager
def reported(command: str) -> Iterator[None]:
    """Turn an error of ours into ``<command>: error: ...`` on stderr and an exit code, without a usage dump.

    A warning of ours is one where Python was told to make errors of warnings.

    Raises:
        SystemExit: 2 for a refusal; 1 for a hook that failed, after the plugin's own traceback, or a file that could
            not be written.
    """
    try:
        yield
    except HookFailed as failure:
        tell("", sys.stderr)  # off the line of mflux's progress bar
        if failure.__cause__ is not None:
            tell(visible_lines("".join(traceback.format_exception(failure.__cause__)).rstrip()), sys.stderr)
        say(command, "error", failure)
        raise SystemExit(FAILED) from None
    except (PluginError, PluginWarning) as error:
        say(command, "error", error)
        raise SystemExit(FAILED if isinstance(error, NotWritten) else REFUSED) from None


@contextlib.contextmanager
def interruptible(command: str) -> Iterator[None]:
    """End a command of ours on Ctrl-C with a line in place of a traceback.

    Raises:
        SystemExit: 130.
    """
    try:
        yield
    except BaseException as error:
        if not is_interruption(error):
            raise
        tell("", sys.stderr)
        say(command, "error", "interrupted")
        raise SystemExit(INTERRUPTED) from None


class Output:
    """Standard output for the time of a command of ours: a full disk or a closed pipe ends it with a line at most.

    Attributes:
        problem: why it took no more, if it did not.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._stream = sys.stdout
        self.problem: Exception | None = None if self._stream is not None else ValueError("it is closed")

    def __enter__(self) -> Output:
        if self._stream is not None:  # Python has none where it was started with it closed, and prints nothing
            sys.stdout = self
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout = self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._noting():
            self._stream.write(spellable(text, self._stream))
        return len(text)

    def flush(self) -> None:
        with self._noting():
            self._stream.flush()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as problem:
            self.problem = problem
            raise

    def exit_code(self, code: int) -> int:
        """Of a command that is done with this one, when all that it printed has been taken; else 1.

        A reader who has seen enough, such as ``| head``, needs no line.
        """
        if self.problem is None:
            with contextlib.suppress(OSError, ValueError):
                self.flush()
        if self.problem is None:
            return code
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):  # Python flushes again when it ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if not isinstance(self.problem, BrokenPipeError):
            reason = getattr(self.problem, "strerror", None) or self.problem
            say(self._command, "error", f"not everything was printed: standard output takes no more ({reason}).")
        return code or FAILED


def show_warnings(command: str) -> None:
    """From now on show warnings of ours as ``<command>: warning: ...``, and all others as before."""
    show_other = warnings.showwarning

    def showwarning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, PluginWarning):
            say(command, "warning", message)
        else:
            show_other(message, category, *place, **more)

    warnings.showwarning = showwarning
