"""What a sidecar of mflux's (``-C run.json``) says about plugins."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

from mflux_teacache import recorded
from mflux_teacache.errors import PluginWarning, Refused
from mflux_teacache.metadata import KEY
from mflux_teacache.recorded import Recorded


def read(path: Path) -> Recorded:
    """The recorded plugins.

    A file that is missing or is no JSON gives nothing here: mflux reads it next and has its own error. A pipe gives
    nothing either, with a warning: what is read here would be missing there.

    Raises:
        OptionError: the entry is not one that this version writes.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        warnings.warn(
            f"{path} is no file that can be read twice, so plugins that it may record are not brought back. Name them "
            f"with --plugin, or give a file.",
            PluginWarning,
            stacklevel=2,
        )
        return Recorded()
    try:
        with path.open("rt") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return Recorded()
    if not isinstance(content, dict) or KEY not in content:
        return Recorded()
    with naming(path):
        return recorded.parse(content[KEY], content.get("model"))


@contextlib.contextmanager
def naming(path: Path | None) -> Iterator[None]:
    """Say in a refusal that it is about this file, if it is about one, and how to go on without it."""
    try:
        yield
    except Refused as error:
        if path is None:
            raise
        message = str(error).removesuffix(".")
        raise type(error)(f"{path}: {message}. Or run without the plugins of this file: --plugin none.") from error
