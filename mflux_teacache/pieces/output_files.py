"""Files that a plugin or command writes at its end: checked before its work begins, and never left half. No mlx.

Each is written beside its place and then moved there. Whatever happens (a full disk, a kill, Ctrl-C), either the old
file or the new one is there as a whole. What a killed writer left beside it is removed by a later one.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mflux_teacache.errors import NotWritten, OptionError
from mflux_teacache.pieces.input_files import reason
from mflux_teacache.pieces.option_types import file_path

_OUTPUT = "_mflux_output"

_BESIDE = re.compile(r"\.mflux-teacache-[0-9a-f]{16}\.tmp")
_LEFT_AFTER = 24 * 60 * 60  # seconds; writing takes a few


def add_output(group: argparse._ActionsContainer, *names: str, **details: Any) -> None:
    """Declare an option that names a file to write."""
    # The mark keeps ``-C`` from bringing it back: a stranger's sidecar must not choose which files are overwritten.
    action = group.add_argument(*names, type=file_path, metavar="FILE", **details)
    setattr(action, _OUTPUT, True)


def is_output(action: argparse.Action) -> bool:
    return getattr(action, _OUTPUT, False)


def check_output(option: str, path: Path, suffix: str | None = None, inputs: Iterable[Path] = ()) -> None:
    """Refuse a file that could not be written at the end.

    Args:
        option: the option that names the file, for messages.
        path: an existing file will be replaced; a pipe or a device, such as ``/dev/stdout``, will be written to.
        suffix: the suffix that its name must have, such as ``.png``; ``None`` for any.
        inputs: files that the command reads, none of which it may replace.

    Raises:
        OptionError: the suffix is another one, it is one of the inputs (also by way of a link), no file can have the
            name, its folder does not exist, a folder or the like is in its place, the command prints into it, or there
            is no permission.
    """
    if suffix is not None and path.suffix.lower() != suffix:
        attempt = path.with_suffix(suffix) if path.name else f"result{suffix}"
        named = f"{option} " if option.startswith("-") else ""
        raise OptionError(f"{option} is {path}; its name must end in {suffix}. Try {named}{attempt}.")
    old = _asked_status(option, path)
    if any(_is_one_file(path, read) for read in inputs):
        raise OptionError(f"{option} is {path}, which this command reads and would replace. Name a file that is new.")
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
        OSError: the system did not allow it. The file is then as it was, or still missing.
    """
    old = _status(path)
    if old is not None and not stat.S_ISREG(old.st_mode):
        _write_into(path, content)
        return
    target = _target(path)
    if old is not None and not os.access(target, os.W_OK):  # moving asks the folder's permission, not the file's
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    beside = _beside(target)
    try:
        with beside.open("xb") as file:
            if old is not None:
                _keep_owner_and_mode(file.fileno(), old)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a crash after the move could leave an empty file
            written = os.fstat(file.fileno()).st_mtime
        os.replace(beside, target)
    except BaseException:  # Ctrl-C must not leave the file beside it either
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    _remove_left(target.parent, written)
    _sync_folder(target.parent)


def png_of(figure: Any) -> bytes:
    """A matplotlib figure as a PNG. It is drawn in memory, so that a failure leaves the file as it was."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Report a failure to write a result in one message, and not with a traceback.

    Raises:
        NotWritten: the system did not allow the file to be written.
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


def _is_one_file(path: Path, other: Path) -> bool:
    # Some file systems take FULL.png and full.png for one file, which the names alone do not tell.
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(path, other)
    return os.path.realpath(path) == os.path.realpath(other)


def _status(path: Path) -> os.stat_result | None:
    """The status of what the name leads to; ``None`` if nothing is there yet."""
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
    _asked_status(option, _beside(target))  # the temporary file's path may be too long where the file's is not


def _is_kept_for_its_owner(old: os.stat_result, folder: os.stat_result) -> bool:
    """Whether only its owner may replace the file."""
    # In a shared folder such as /tmp (the sticky bit), others may write a file that allows it, but never move it.
    return bool(folder.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, old.st_uid, folder.st_uid)


def _is_printed_to(status: os.stat_result) -> bool:
    """Whether the command's own output goes to this file, as with a shell's ``> file``."""
    # After it was replaced, the command would go on printing into the old one, which no longer has a name.
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # the descriptor may be closed
            if os.path.samestat(status, os.fstat(descriptor)):
                return True
    return False


def _target(path: Path) -> Path:
    """The file that is replaced. For a link it is the file that the link points to, so that the link stays."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _beside(target: Path) -> Path:
    """A name in the same folder that no file has, short enough for every file system."""
    return target.with_name(f".mflux-teacache-{os.urandom(8).hex()}.tmp")


def _remove_left(folder: Path, now: float) -> None:
    """Remove what writers that were killed have left in a folder; ``now`` is the time by its file system's clock."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # another writer may remove the same
        for entry in entries:
            if _BESIDE.fullmatch(entry.name) and now - entry.stat(follow_symlinks=False).st_mtime > _LEFT_AFTER:
                with contextlib.suppress(OSError):  # somebody else's
                    os.unlink(entry)


def _keep_owner_and_mode(descriptor: int, old: os.stat_result) -> None:
    with contextlib.suppress(PermissionError):  # only root may give files away
        os.fchown(descriptor, old.st_uid, old.st_gid)
    with contextlib.suppress(PermissionError):  # some file systems have no permissions
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """Make sure that the new name outlasts a crash."""
    with contextlib.suppress(OSError):  # some file systems cannot do this, and the file itself is written already
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
