"""Files that a plugin or command writes when all is done: refused before anything is done, and never left half. No mlx.

Each is written beside its place and moved into it, so that whatever happens (a full disk, a kill, Ctrl-C) the old file
is there as a whole, or the new one is.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mflux_teacache.errors import NotWritten, OptionError
from mflux_teacache.pieces.input_files import reason
from mflux_teacache.pieces.option_types import file_path

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
        path: an existing file will be replaced; a pipe or a device, such as ``/dev/stdout``, will be written to.
        suffix: that its name must have, such as ``.png``; ``None`` = any.

    Raises:
        OptionError: another suffix, a name that no file can have, no such folder, a folder or the like in the file's
            place, where the command prints, or no permission.
    """
    if suffix is not None and path.suffix.lower() != suffix:
        attempt = path.with_suffix(suffix) if path.name else f"result{suffix}"
        raise OptionError(f"{option} is {path}; its name must end in {suffix}. Try {option} {attempt}.")
    old = _asked_status(option, path)
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise OptionError(f"{option} is {path}, which is a folder. Give the name of a file in it.")
    if old is not None and not _is_writable_kind(old):
        raise OptionError(f"{option} is {path}, which is neither a file nor a pipe. Name a file.")
    if old is not None and not os.access(path, os.W_OK):
        raise OptionError(f"{option} is {path}, which cannot be written. Name a file in a folder of your own.")
    if old is None or stat.S_ISREG(old.st_mode):
        _check_replaceable(option, path, old)


def replace_file(path: Path, content: bytes) -> None:
    """Make ``content`` what a file holds: written beside it, then moved into its place.

    A file keeps its permissions and, where the system lets it, its owner; a link keeps pointing to it. A pipe or a
    device has no content to lose, and is written to as it is.

    Raises:
        OSError: the system did not let it; the file is then as it was, or missing if it was.
    """
    old = _status(path)
    if old is not None and not stat.S_ISREG(old.st_mode):
        _write_into(path, content)
        return
    target = _target(path)
    if old is not None and not os.access(target, os.W_OK):  # moving would not ask
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    beside = _beside(target)
    try:
        with beside.open("xb") as file:
            if old is not None:
                _keep_owner_and_mode(file.fileno(), old)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    _sync_folder(target.parent)


def png_of(figure: Any) -> bytes:
    """A figure of matplotlib's, drawn in memory: what goes wrong there leaves the file as it was."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """For a plugin or command that has its result, so that a full disk does not end it with a traceback.

    Raises:
        NotWritten: the system did not let it write.
    """
    try:
        yield
    except OSError as error:
        raise NotWritten(
            f"{option} is {path}, which could not be written: {reason(error)}. What it was to hold is "
            f"lost, except for what was printed; a file that was there before is unchanged."
        ) from error


def _asked_status(option: str, path: Path) -> os.stat_result | None:
    try:
        return _status(path)
    except (OSError, ValueError) as error:
        raise OptionError(
            f"{option} is {path}, where no file can be: {reason(error)}. Name a file in a folder of your own."
        ) from error


def _status(path: Path) -> os.stat_result | None:
    """Of what the name leads to; ``None`` where nothing is yet."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_writable_kind(status: os.stat_result) -> bool:
    return any(kind(status.st_mode) for kind in (stat.S_ISREG, stat.S_ISFIFO, stat.S_ISCHR))


def _check_replaceable(option: str, path: Path, old: os.stat_result | None) -> None:
    target = _target(path)
    folder = _asked_status(option, target.parent)
    if folder is None or not stat.S_ISDIR(folder.st_mode):
        raise OptionError(
            f"{option} is {path}, but there is no folder {target.parent}. Make it first, or name one that exists."
        )
    if not os.access(target.parent, os.W_OK | os.X_OK) or (old is not None and _is_kept_for_its_owner(old, folder)):
        why = "" if old is None else ": its folder does not take the new file that is to be moved into its place"
        raise OptionError(f"{option} is {path}, which cannot be written{why}. Name a file in a folder of your own.")
    if old is not None and _is_printed_to(old):
        raise OptionError(f"{option} is {path}, where this command prints. Name another file.")
    _asked_status(option, _beside(target))  # its path may be longer than that of the file


def _is_kept_for_its_owner(old: os.stat_result, folder: os.stat_result) -> bool:
    """In a folder for all, such as /tmp, others may write a file if it says so, and never move it."""
    return bool(folder.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, old.st_uid, folder.st_uid)


def _is_printed_to(status: os.stat_result) -> bool:
    """It is the file of a shell's ``> file``, which goes on printing into the old one when that is replaced."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # one that is closed
            if os.path.samestat(status, os.fstat(descriptor)):
                return True
    return False


def _target(path: Path) -> Path:
    """What is replaced: of a link, the file that it points to, so that the link stays."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _beside(target: Path) -> Path:
    """A name in the same folder that no file has, short enough for every file system."""
    return target.with_name(f".mflux-teacache-{os.urandom(8).hex()}.tmp")


def _keep_owner_and_mode(descriptor: int, old: os.stat_result) -> None:
    with contextlib.suppress(PermissionError):  # only root may give files away
        os.fchown(descriptor, old.st_uid, old.st_gid)
    with contextlib.suppress(PermissionError):  # a file system without permissions
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """So that the new name outlasts a crash. The file is written already, and some file systems cannot do this."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_into(path: Path, content: bytes) -> None:
    # Without a reader, opening a pipe fails here, where it would otherwise wait for one and hold up the image.
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "wb") as file:
        os.set_blocking(descriptor, True)
        file.write(content)
