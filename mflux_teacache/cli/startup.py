"""What runs at the start of Python: makes mflux's commands know ``--plugin``. Imports next to nothing.

``mflux_teacache.pth`` in site-packages calls ``start`` in commands named ``mflux-*``; so does
``mflux_teacache.start`` from Python 3.15 on, there in every process. Up to the import of mflux's parser, all
that happens is one finder in ``sys.meta_path``.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing would take longer than all of this module
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

OFF = "MFLUX_PLUGINS"
OWN_COMMAND = "mflux-teacache"
PARSERS = "mflux.cli.parser.parsers"


def start() -> None:
    """Make this process's mflux command know ``--plugin``; does nothing in any other process."""
    if is_mflux_command(getattr(sys, "argv", [])) and os.environ.get(OFF) != "0":
        install()


def is_mflux_command(argv: Sequence[str]) -> bool:
    """Whether a process with these arguments is one of mflux's console scripts. Ours needs no plugins."""
    name = argv[0].replace("\\", "/").rpartition("/")[2].removesuffix(".exe") if argv else ""
    return name.startswith("mflux-") and name != OWN_COMMAND


def install() -> None:
    """Extend mflux's command-line parser as soon as it is imported. A second call does nothing."""
    if _PARSER_FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _PARSER_FINDER)


def _extend_parser(parsers: ModuleType) -> None:
    from mflux_teacache.cli.mflux.command_line import extend

    extend(parsers)


class AfterImport:
    """A finder that finds nothing itself: it does something to modules right after their import.

    Args:
        applies: whether the module of this name is meant.
        action: gets the module when its code has run.
    """

    def __init__(self, applies: Callable[[str], bool], action: Callable[[ModuleType], None]) -> None:
        self._applies = applies
        self._action = action

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not self._applies(name):
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            if (spec := finder.find_spec(name, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _ThenAct(spec.loader, self._action)  # type: ignore[assignment]
                return spec
        return None


class _ThenAct:
    """A module's loader for the time of its import."""

    def __init__(self, loader: Any, action: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._action = action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._action(module)


_PARSER_FINDER = AfterImport(PARSERS.__eq__, _extend_parser)
