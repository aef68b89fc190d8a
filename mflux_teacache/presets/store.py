"""The presets of a user: JSON files in the user's data directory, one for each preset. No mlx.

A file is written beside its place and then moved there, so whatever happens, the old preset or the new one is there as
a whole. A file that is no preset is named in one line, and the others are used.
"""

from __future__ import annotations

import mimetypes
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_data_path

from mflux_teacache.errors import NotWritten, OptionError, PluginWarning
from mflux_teacache.messages import did_you_mean
from mflux_teacache.pieces.input_files import Unreadable, read_text, reason
from mflux_teacache.pieces.output_files import replace_file
from mflux_teacache.presets.preset import Preset, as_text
from mflux_teacache.presets.reading import EXPORTED, MOST_BYTES, PRESET_NAME, is_preset_name, parse
from mflux_teacache.spelling import brief, shortened

VARIABLE = "MFLUX_TEACACHE_DATA"
SUFFIX = ".json"

_APPLICATION = "mflux-teacache"
_FOLDER = "presets"
_ANEW = "Import it anew with `mflux-teacache presets import FILE --replace`, or move it away."


class Stored(NamedTuple):
    """A file of the store.

    Attributes:
        name: the preset's name, which is that of the file.
        preset: ``None`` if the file is not one.
        problem: why it is not, in one line; empty if it is.
    """

    name: str
    preset: Preset | None
    problem: str = ""


def folder() -> Path:
    """Where the presets are. ``MFLUX_TEACACHE_DATA`` in the environment names another data directory.

    Raises:
        OptionError: it begins with a ~ that stands for nobody's home.
    """
    named = os.environ.get(VARIABLE)
    try:
        return (Path(named).expanduser() if named else user_data_path(_APPLICATION, appauthor=False)) / _FOLDER
    except RuntimeError as error:
        raise OptionError(
            f"{VARIABLE} is {brief(named)}, whose home directory is not known. Name the directory by its whole path."
        ) from error


def stored() -> list[Stored]:
    """Every preset, by name, and the files that are none.

    Raises:
        OptionError: the directory is there and cannot be read.
    """
    try:
        files = sorted(path for path in folder().iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise OptionError(
            f"The presets in {folder()} cannot be listed: {reason(error)}. Correct its permissions, or name another "
            f"data directory in {VARIABLE}."
        ) from error
    return [_read(path) for path in files]


def usable() -> Iterator[Preset]:
    """The presets, with a warning for each file that is none."""
    for entry in stored():
        if entry.preset is None:
            warnings.warn(f"{entry.problem} It is left out.", PluginWarning, stacklevel=2)
        else:
            yield entry.preset


def load(name: str) -> Preset:
    """The preset of a name.

    Raises:
        OptionError: there is none, or its file is none.
    """
    entry = _read(check_there(name))
    if entry.preset is None:
        raise OptionError(entry.problem)
    return entry.preset


def check_there(name: str) -> Path:
    """The file of a preset; raises ``OptionError`` if there is none."""
    path = path_of(name)
    if not is_there(path):
        names = [entry.name for entry in stored()]
        if not names:
            raise OptionError(
                f"There is no preset {brief(name)} in {path.parent}, nor any other. `mflux-teacache tune` makes one."
            )
        raise OptionError(
            f"There is no preset {brief(name)} in {path.parent}. It has: {', '.join(names)}.{did_you_mean(name, names)}"
        )
    return path


def is_there(path: Path) -> bool:
    """Whether a file of the store exists, or a link to nothing; raises ``OptionError`` where nobody can tell."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise OptionError(
            f"{path} cannot be looked at: {reason(error)}. Correct its permissions, or name another data directory in "
            f"{VARIABLE}."
        ) from error
    return True


def save(preset: Preset) -> Path:
    """Write a preset, in place of one of the same name; returns its file.

    Raises:
        OptionError: it holds something that no preset may.
        NotWritten: the system did not allow it. What was there is unchanged.
    """
    path, text = path_of(preset.name), as_text(preset)
    parse(text, preset.name)  # so that whatever is written can be read
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        raise NotWritten(
            f"The preset {preset.name} could not be written to {path.parent}: {reason(error)}. The presets there are "
            f"unchanged. Make room or correct its permissions, or name another data directory in {VARIABLE}."
        ) from error
    return path


def remove(name: str) -> None:
    """Delete a preset, or a file of the store that is none.

    Raises:
        OptionError: there is none of this name.
        NotWritten: the system did not allow it.
    """
    path = check_there(name)
    try:
        path.unlink()
    except OSError as error:
        raise NotWritten(f"The preset {name} could not be removed from {path.parent}: {reason(error)}.") from error


def read_file(path: Path, remedy: str = EXPORTED) -> Preset:
    """The preset in a file anywhere, such as one that somebody has shared.

    Args:
        remedy: what to do about a file that is none, at the end of the message.

    Raises:
        OptionError: it cannot be read, or is no preset.
    """
    kind, _ = mimetypes.guess_type(path.name)
    if kind is not None and kind.startswith("image/"):
        raise OptionError(f"{path} is an image by its name, and no preset; `mflux-teacache show` tells of it. {remedy}")
    try:
        text = read_text(path, MOST_BYTES)
    except Unreadable as error:
        remedy = remedy if os.path.lexists(path) else "Write its name and folder as `ls` shows them."
        raise OptionError(f"The preset {path} cannot be read: {error}. {remedy}") from error
    return parse(text, shortened(str(path), 1000), remedy)


def path_of(name: str) -> Path:
    """The file of a preset, whether it is there or not.

    Raises:
        OptionError: no preset can have the name.
    """
    if not is_preset_name(name):
        raise OptionError(f"{brief(name)} cannot be the name of a preset; it must be {PRESET_NAME.words}.")
    return folder() / f"{name}{SUFFIX}"


def _read(path: Path) -> Stored:
    """A file of the store. Its name counts, whatever the preset in it is called: people rename files."""
    name = path.name.removesuffix(SUFFIX)
    try:
        if not is_preset_name(name):
            raise OptionError(
                f"The preset {path} cannot have this name; it must be {PRESET_NAME.words}. Rename it, or move it away."
            )
        return Stored(name, replace(read_file(path, _ANEW), name=name))
    except OptionError as error:
        return Stored(name, None, str(error))
