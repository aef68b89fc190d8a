"""Act on a module of somebody else's right after its import. Imported at the start of mflux's commands: light."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # importing typing would take longer than all of this module
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class AfterImport:
    """A finder in ``sys.meta_path`` that finds nothing itself, and acts on modules right after their import.

    Args:
        applies: tells by a module's name whether it is meant.
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
    """Stands in for a module's loader while the module is imported."""

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
