"""How errors, warnings and notes reach a terminal: in one line each, and at no cost for a finished image. No mlx.

Messages contain names and values from files, packages and plugins that anybody may have written, so they are made
harmless here. A stream may be full, closed, missing, or unable to encode some letters; that must not make us fail.
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

# Exit codes. 130 is what shells report for a program that Ctrl-C has ended.
REFUSED = 2
FAILED = 1
INTERRUPTED = 130

# From this ratio of difflib's on, one name is taken for a misspelling of the other.
ALIKE = 0.7


# --- What a text may hold ---------------------------------------------------------------------------------------------


def spellable(text: str, stream: TextIO) -> str:
    """The text, with those letters spelt out that the stream's encoding lacks, such as an accented one in ASCII."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A sentence to append to another one, with a space before it; empty if none of the words resembles this one."""
    near = get_close_matches(word, sorted(words), n=1, cutoff=ALIKE)  # sorted, so that a tie has one answer
    return f" Did you mean {near[0]}?" if near else ""


# --- Errors, warnings and notes ---------------------------------------------------------------------------------------


def tell(text: str, stream: TextIO | None) -> bool:
    """Print a text, and return whether the stream has taken it."""
    if stream is None:  # Python sets sys.stdout and sys.stderr to None if the process was started with them closed
        return False
    try:
        print(spellable(text, stream), file=stream, flush=True)
    except (OSError, ValueError):  # a closed stream raises ValueError
        return False
    return True


def say(command: str, kind: str, message: object) -> None:
    """Print ``<command>: <kind>: <message>`` on stderr, in one line."""
    tell(f"{visible(command)}: {kind}: {shortened(visible(message))}", sys.stderr)


@contextlib.contextmanager
def reported(command: str) -> Iterator[None]:
    """Turn an error of ours into ``<command>: error: ...`` on stderr and an exit code, without a usage dump.

    Raises:
        SystemExit: 2 for a refusal; 1 for a hook that failed, after the plugin's own traceback, or a file that could
            not be written.
    """
    try:
        yield
    except HookFailed as failure:
        tell("", sys.stderr)  # mflux's progress bar has left the cursor in the middle of a line
        if failure.__cause__ is not None:
            tell(visible_lines("".join(traceback.format_exception(failure.__cause__)).rstrip()), sys.stderr)
        say(command, "error", failure)
        raise SystemExit(FAILED) from None
    except (PluginError, PluginWarning) as error:  # ``-W error`` makes errors of our warnings too
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
    """Warn of something when an image is done. Even a failing warning does not cost the image.

    If warnings are errors, or cannot be shown, the message goes to standard error instead.
    """
    try:
        warnings.warn(message, PluginWarning, stacklevel=3)
    except Exception:  # noqa: BLE001 - whatever a warnings filter or a replaced showwarning raises
        tell(f"warning: {visible(message)}", sys.stderr)


@contextlib.contextmanager
def costing_nothing(what: str) -> Iterator[None]:
    """Turn any exception into a warning while something is done with a finished image.

    Args:
        what: the work that may fail, such as "recording what the plugins did".
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the image is worth more than what is recorded about it
        warn_kept(f"{what} failed: {described(error)}. The image is kept.")


# --- Commands of our own ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def interruptible(command: str) -> Iterator[None]:
    """End a command of ours on Ctrl-C with one line instead of a traceback.

    Notes of the exception (``add_note``) are told too: what is kept, and how to go on.

    Raises:
        SystemExit: 130.
    """
    try:
        yield
    except BaseException as error:
        if not is_interruption(error):
            raise
        tell("", sys.stderr)  # below the terminal's own ^C
        notes = " ".join(getattr(error, "__notes__", ()))
        tell(shortened(visible(f"{command}: interrupted{': ' if notes else ''}{notes}")), sys.stderr)
        raise SystemExit(INTERRUPTED) from None


class Output:
    """Standard output while a command of ours runs: a full disk or closed pipe ends the command with one line at most.

    Attributes:
        problem: why the stream takes no more; ``None`` as long as it does.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._stream = sys.stdout
        self.problem: Exception | None = None if self._stream is not None else ValueError("it is closed")

    def __enter__(self) -> Output:
        if self._stream is not None:  # without a stream, print itself does nothing
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
        """The exit code of a command that would end with ``code``; it is not 0 if some of the output was lost."""
        if self.problem is None:
            with contextlib.suppress(OSError, ValueError):
                self.flush()
        if self.problem is None:
            return code
        if self._stream is not None:
            # Python flushes once more as it exits, and would print an error of its own for the same problem.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if not isinstance(self.problem, BrokenPipeError):  # a reader such as ``| head`` has simply seen enough
            reason = getattr(self.problem, "strerror", None) or self.problem
            say(self._command, "error", f"not everything was printed: standard output takes no more ({reason}).")
        return code or FAILED
