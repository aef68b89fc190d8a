"""The start-up file: whether it is where Python reads it, and whether mflux's commands get ``--plugin`` by it."""

from __future__ import annotations

import base64
import hashlib
import os
import site
import stat
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import Any

from mflux_teacache.cli.mflux.arguments import OPTION
from mflux_teacache.cli.own.doctor.page import Part
from mflux_teacache.cli.own.doctor.probe import Failed, answer_of
from mflux_teacache.cli.startup import OFF, PARSERS, AfterImport
from mflux_teacache.discovery import PACKAGE
from mflux_teacache.installation import installing, reinstall
from mflux_teacache.spelling import as_word

WITHOUT = f"Until then, `{as_word(sys.executable)} -m mflux_teacache mflux-generate {OPTION} NAME ...` works."

# Run as a file whose name begins like that of mflux's commands, since the start-up file looks at the name.
AS_A_COMMAND = f"""
import importlib, json, sys
said = {{"finder": any(type(finder).__name__ == {AfterImport.__name__!r} for finder in sys.meta_path)}}
try:
    parsers = importlib.import_module({PARSERS!r})
except Exception as error:
    said["failure"] = f"{{type(error).__name__}}: {{error}}"
else:
    try:
        parser = parsers.CommandLineParser()
        parser.add_output_arguments()
        said["option"] = {OPTION!r} in parser._option_string_actions
    except AttributeError:
        said["option"] = False
print(json.dumps(said))
"""


def start_up(mlx: Part) -> Part:
    """Where the file is, and whether it works.

    Args:
        mlx: that part of the page. mflux's commands import MLX, and without it there is nothing to try.
    """
    name = file_name()
    found = [folder / name for folder in _site_folders() if (folder / name).exists()]
    tried = "not tried, since MLX does not work" if mlx.broken else _tried()
    facts = {
        "file": f"{name}, which Python {sys.version_info.major}.{sys.version_info.minor} reads",
        "found in": ", ".join(as_word(path.parent) for path in found) or "no folder that Python reads at its start",
        "content": _content(found),
        "at work": tried or f"yes, mflux's commands know {OPTION}",
    }
    return Part("start-up file", facts, [] if mlx.broken or tried is None else [_advice(name, found, tried)])


def file_name() -> str:
    """The start-up file that this Python reads; the other one lies beside it."""
    return f"mflux_teacache.{'start' if sys.version_info >= (3, 15) else 'pth'}"


def _site_folders() -> Iterator[Path]:
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    yield from (Path(folder) for folder in [*site.getsitepackages(), *user])


def _content(found: list[Path]) -> str:
    if not found:
        return "-"
    shipped = _shipped(found[0].name)
    return "as installed" if all(_digest(path) == shipped for path in found) else "of another version, or changed"


def _shipped(name: str) -> str | None:
    """The digest that the package's list of files has for one."""
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        return None
    return next((file.hash.value for file in listed if str(file) == name and file.hash is not None), None)


def _digest(path: Path) -> str:
    """As in such a list (PEP 376): SHA-256 in base 64 without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()


def _tried() -> str | None:
    """Why a process with the name of an mflux command does not get ``--plugin``; ``None`` if it does."""
    if os.environ.get(OFF) == "0":
        return f"no, {OFF}=0 switches it off"
    try:
        said: dict[str, Any] = answer_of(AS_A_COMMAND, "mflux-doctor")
    except Failed as failed:
        return f"no, {failed}"
    if "failure" in said:
        return f"{_UNUSABLE} ({said['failure']})"
    if not said["finder"]:
        return "no, it was not run"
    return None if said["option"] else _CHANGED


_UNUSABLE = "no, mflux's own parser cannot be imported"
_CHANGED = "no, the parser of the installed mflux has changed"


def _advice(name: str, found: list[Path], tried: str) -> str:
    return f"mflux's commands do not know {OPTION}: {_reason(name, found, tried)}"


def _reason(name: str, found: list[Path], tried: str) -> str:
    """Why, and what to do."""
    why = tried.removeprefix("no, ")
    if os.environ.get(OFF) == "0":
        return f"{OFF}=0 in the environment switches this package off. Switch it on with `unset {OFF}`."
    if tried.startswith(_UNUSABLE):
        return f"{why}. Install mflux anew with `{installing('mflux', anew=True)}`."
    if tried == _CHANGED:
        earlier = installing(f"mflux<{version('mflux')}")
        return f"{why}. Install a newer {PACKAGE}, or an earlier mflux with `{earlier}`."
    if not found:
        return f"the start-up file {name} is missing. Put it back with `{reinstall()}`. {WITHOUT}"
    if hidden := [path for path in found if _is_hidden(path)]:
        names = " ".join(map(as_word, hidden))
        return f"the start-up file is hidden, and Python skips hidden ones. Show it with `chflags nohidden {names}`."
    return f"the start-up file {name} does not work: {why}. Install it anew with `{reinstall()}`. {WITHOUT}"


def _is_hidden(path: Path) -> bool:
    """Whether macOS marks a file as hidden, as it may in a folder that begins with a dot or is synchronised."""
    return bool(getattr(path.lstat(), "st_flags", 0) & stat.UF_HIDDEN)
