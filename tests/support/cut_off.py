"""Commands that draw on a tiny model, are cut off at a chosen image, and go on."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import tiny_tune
from advice_of_files import within
from advised_runs import own

from mflux_teacache.demo import model as demo
from mflux_teacache.presets import store

TUNE = ("tune", "--demo", "--steps", "10", "--size", "32x32", "--speedups", "1.5,2", "--prompts", "2")


class Drawing:
    """A callback of mflux that counts images, and lets the one of a number fail with Ctrl-C.

    Attributes:
        images: how many were begun.
    """

    def __init__(self, fails: int | None = None) -> None:
        self.images, self._fails = 0, fails

    def call_before_loop(self, **_: Any) -> None:
        if self.images == self._fails:
            raise KeyboardInterrupt
        self.images += 1


@contextlib.contextmanager
def tiny_demo(drawing: Drawing | None = None) -> Iterator[None]:
    """The demo's model is a tiny one."""
    with tiny_tune.tiny() as model, mock.patch.object(demo, "tiny_klein", return_value=contextlib.nullcontext(model)):
        model.callbacks.register(drawing or Drawing())
        yield


def tiny(act: Callable[[], Any]) -> Callable[[], Any]:
    return within(tiny_demo, act)


def cut_off(act: Callable[[], Any], image: int, *results: Path) -> Callable[[], Any]:
    """From nothing up to Ctrl-C in the image of a number."""

    def begin() -> None:
        for path in results:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        within(lambda: tiny_demo(Drawing(fails=image)), act)()

    return begin


def goes_on(kept: int) -> Callable[[], Any]:
    """A tuning to its end, for which it draws all images but so many."""

    def on() -> None:
        drawing = Drawing()
        within(lambda: tiny_demo(drawing), own(*TUNE))()
        images = [path for path in store.folder().with_name("tune").rglob("*.json") if path.name != "question.json"]
        assert drawing.images == len(images) - kept

    return on
