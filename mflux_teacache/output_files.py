"""Files that a plugin or command writes when all is done, refused before anything is if they could not be. No mlx."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mflux_teacache.errors import NotWritten, OptionError
from mflux_teacache.option_types import file_path

_OUTPUT = "_mflux_output"


def add_output(group: argparse._ArgumentGroup, *names: str, **details: Any) -> None:
    """An option that names a file to write. ``-C`` does not bring it back: another's sidecar must not choose files."""
    action = group.add_argument(*names, type=file_path, metavar="FILE", **details)
    setattr(action, _OUTPUT, True)


def is_output(action: argparse.Action) -> bool:
    return getattr(action, _OUTPUT, False)


def check_output(option: str, path: Path, suffix: str | None = None) -> None:
    """Args:
        option: that names the file, for messages.
        path: an existing file will be replaced.
        suffix: that its name must have, such as ``.png``; ``None`` = any.

    Raises:
        OptionError: another suffix, no such folder, a folder in the file's place, or no permission.
    """
    if suffix is not None and path.suffix.lower() != suffix:
        attempt = path.with_suffix(suffix) if path.name else f"result{suffix}"
        raise OptionError(f"{option} is {path}; its name must end in {suffix}. Try {option} {attempt}.")
    if not path.parent.is_dir():
        raise OptionError(
            f"{option} is {path}, but there is no folder {path.parent}. Make it first, or name one that exists."
        )
    if path.is_dir():
        raise OptionError(f"{option} is {path}, which is a folder. Give the name of a file in it.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OptionError(f"{option} is {path}, which cannot be written. Name a file in a folder of your own.")


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """For a command that has printed what it found, so that a full disk does not end it with a traceback.

    Raises:
        NotWritten: the system did not let it write.
    """
    try:
        yield
    except OSError as error:
        raise NotWritten(
            f"{option} is {path}, which could not be written: {error.strerror or error}. What it was to hold is lost; "
            f"what was printed stands above."
        ) from error
