"""What a sidecar of mflux's (``-C run.json``) says about plugins."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mflux_teacache import recorded
from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.input_files import NotAFile, TooLarge, Unreadable, contains, read_text
from mflux_teacache.json_fields import parse_json
from mflux_teacache.metadata import KEY
from mflux_teacache.recorded import Recorded

# mflux reads a file of any size; beyond this one, nobody has written it as a sidecar.
_MOST_SEARCHED = 64 * 10**6


def read(path: Path) -> Recorded:
    """The recorded plugins.

    A file that is missing or is no JSON gives nothing here: mflux reads it next and has its own error. A pipe gives
    nothing either, with a warning: what is read here would be missing there.

    Raises:
        OptionError: the file is larger than any sidecar, or the entry is not one that this version writes.
    """
    with naming(path):
        content = _content(path)
        if not isinstance(content, dict) or KEY not in content:
            return Recorded()
        return recorded.parse(content[KEY], content.get("model"))


def _content(path: Path) -> Any:
    """``None`` where it is left to mflux to read and to judge, as whatever says nothing of plugins is."""
    try:
        if not contains(path, KEY.encode(), _MOST_SEARCHED):
            return None
        return parse_json(read_text(path, recorded.MOST_BYTES))
    except TooLarge as error:
        raise OptionError(f"it cannot be a sidecar: {error}.") from error
    except NotAFile:
        if not path.is_dir():
            _warn_of_pipe(path)
    except (Unreadable, json.JSONDecodeError, RecursionError):
        pass
    except ValueError as error:  # JSON that mflux would read, and we do not
        raise OptionError(f"{error}.") from error
    return None


def _warn_of_pipe(path: Path) -> None:
    warnings.warn(
        f"{path} is no file that can be read twice, so plugins that it may record are not brought back. Name them "
        f"with --plugin, or give a file.",
        PluginWarning,
        stacklevel=2,
    )


@contextlib.contextmanager
def naming(path: Path | None) -> Iterator[None]:
    """Say in a refusal that it is about this file, if it is about one, and how to go on without it."""
    try:
        yield
    except Refused as error:
        if path is None:
            raise
        message = str(error)
        end = "" if message.endswith((".", "?")) else "."
        raise type(error)(f"{path}: {message}{end} Or run without the plugins of this file: --plugin none.") from error
