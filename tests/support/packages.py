"""Packages of plugins as pip would install them, made up by a test."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mflux_teacache.plugins import GROUP


def install(
    folder: Path, name: str, version: str, points: Mapping[str, str], *, group: str = GROUP, **modules: str
) -> None:
    """Put a distribution with entry points, and its modules, into a folder, which is made if it is not there."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = "".join(f"{point} = {value}\n" for point, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)


@contextlib.contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """What is in a folder is installed, as long as this lasts."""
    known = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        try:
            yield
        finally:
            for name in set(sys.modules) - known:
                if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                    del sys.modules[name]
            importlib.invalidate_caches()


def among(folder: Path, act: Callable[[], Any]) -> Callable[[], None]:
    """An act with the packages of a folder installed."""

    def acting() -> None:
        with on_path(folder):
            act()

    return acting
