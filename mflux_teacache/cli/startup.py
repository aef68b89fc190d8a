"""What runs at the start of Python, and makes mflux's commands know ``--plugin``. It imports next to nothing.

``mflux_teacache.pth`` in site-packages calls ``start`` in commands named ``mflux-*``; so does
``mflux_teacache.start`` from Python 3.15 on, there in every process. Up to the import of mflux's parser, all
that happens is one finder in ``sys.meta_path``.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing would take longer than all of this module
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

OFF = "MFLUX_PLUGINS"
OWN_COMMAND = "mflux-teacache"
PARSERS = "mflux.cli.parser.parsers"


def start() -> None:
    """Make this process's mflux command know ``--plugin``; does nothing in any other process."""
    if is_mflux_command(getattr(sys, "argv", [])) and os.environ.get(OFF) != "0":
        install()


def is_mflux_command(argv: Sequence[str]) -> bool:
    """Whether a process with these arguments is one of mflux's console scripts; ours is none of them."""
    name = argv[0].replace("\\", "/").rpartition("/")[2].removesuffix(".exe") if argv else ""
    return name.startswith("mflux-") and name != OWN_COMMAND


def install() -> None:
    """Extend mflux's command-line parser as soon as it is imported. A second call does nothing."""
    from mflux_teacache.cli.after_import import AfterImport

    if not any(isinstance(finder, AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, AfterImport(PARSERS.__eq__, _extend_parser))


def _extend_parser(parsers: ModuleType) -> None:
    from mflux_teacache.cli.mflux.command_line import extend

    extend(parsers)
