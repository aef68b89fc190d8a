"""How errors, warnings and notes reach a terminal: in one line each, and at no cost for a finished image. No mlx.

What is printed holds names and values of files, packages and plugins that anybody may have written, so it is made
harmless here; and a stream may be full, closed, missing, or unable to spell some letters, which is no reason to fail.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, TextIO

from mflux_teacache.errors import HookFailed, NotWritten, PluginError, PluginWarning, is_interruption
from mflux_teacache.spelling import described, shortened, visible, visible_lines

# Exit codes. The last is a shell's number for a program that Ctrl-C has ended.
REFUSED = 2
FAILED = 1
INTERRUPTED = 130

# The ratio of difflib from which on two names are taken for one with a slip.
ALIKE = 0.7


# --- What a text may hold ---------------------------------------------------------------------------------------------


def spellable(text: str, stream: TextIO) -> str:
    """The text with the letters spelt out that the stream's encoding lacks, such as an accent in ASCII."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A sentence to put behind another one, with a space before it; empty if none of the words is like this one."""
    near = get_close_matches(word, sorted(words), n=1, cutoff=ALIKE)
    return f" Did you mean {near[0]}?" if near else ""


# --- Errors, warnings and notes ---------------------------------------------------------------------------------------


def tell(text: str, stream: TextIO | None) -> bool:
    """Print a text, and return whether the stream has taken it."""
    if stream is None:  # Python's own, if the process was started with it closed
        return False
    try:
        print(spellable(text, stream), file=stream, flush=True)
    except (OSError, ValueError):  # the second one says that it is closed
        return False
    return True


def say(command: str, kind: str, message: object) -> None:
    """Print ``<command>: <kind>: <message>`` on stderr, in one line."""
    tell(f"{visible(command)}: {kind}: {shortened(visible(message))}", sys.stderr)


@contextlib.contextmanager
def reported(command: str) -> Iterator[None]:
    """Turn an error of ours into ``<command>: error: ...`` on stderr and an exit code, without a usage dump.

    A warning of ours is an error too if Python was told to make errors of warnings.

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


def show_warnings(command: str) -> None:
    """From now on, show warnings of ours as ``<command>: warning: ...``, and all others as before."""
    show_other = warnings.showwarning

    def showwarning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, PluginWarning):
            say(command, "warning", message)
        else:
            show_other(message, category, *place, **more)

    warnings.showwarning = showwarning


# --- After an image ---------------------------------------------------------------------------------------------------


def warn_kept(message: str) -> None:
    """Warn of something when an image is done. Nothing that becomes of the warning costs the image.

    If warnings are errors, or cannot be shown, as on a full device, it goes to standard error, if that takes it.
    """
    try:
        warnings.warn(message, PluginWarning, stacklevel=3)
    except Exception:  # noqa: BLE001 - whatever a warnings filter or a replaced showwarning raises
        tell(f"warning: {visible(message)}", sys.stderr)


@contextlib.contextmanager
def costing_nothing(what: str) -> Iterator[None]:
    """Make a warning of any exception, in what is done with a finished image.

    Args:
        what: fails, such as "recording what the plugins did".
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the image is worth more than what is said of it
        warn_kept(f"{what} failed: {described(error)}. The image is kept.")


# --- Commands of our own ----------------------------------------------------------------------------------------------


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
        problem: why it takes no more; ``None`` as long as it does.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._stream = sys.stdout
        self.problem: Exception | None = None if self._stream is not None else ValueError("it is closed")

    def __enter__(self) -> Output:
        if self._stream is not None:  # Python has none if it was started with it closed, and prints nothing
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
        """The exit code of a command that would end with ``code``: not 0 if some of its output was lost.

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
