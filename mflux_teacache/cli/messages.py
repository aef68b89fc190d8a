"""How plugins speak to the user of a command: one line for a refusal, a failure or a warning, and an exit code."""

from __future__ import annotations

import contextlib
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from mflux_teacache.errors import HookFailed, NotWritten, PluginError, PluginWarning, is_interruption

REFUSED = 2
FAILED = 1
INTERRUPTED = 130  # a shell's number for a program that Ctrl-C has ended


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
        print(file=sys.stderr)  # off the line of mflux's progress bar
        traceback.print_exception(failure.__cause__)
        _say(command, "error", failure)
        raise SystemExit(FAILED) from None
    except PluginError as error:
        _say(command, "error", error)
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
        print(file=sys.stderr)
        _say(command, "error", "interrupted")
        raise SystemExit(INTERRUPTED) from None


def show_warnings(command: str) -> None:
    """From now on show warnings of ours as ``<command>: warning: ...``, and all others as before."""
    show_other = warnings.showwarning

    def showwarning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, PluginWarning):
            _say(command, "warning", message)
        else:
            show_other(message, category, *place, **more)

    warnings.showwarning = showwarning


def _say(command: str, kind: str, message: object) -> None:
    print(f"{command}: {kind}: {message}", file=sys.stderr)
