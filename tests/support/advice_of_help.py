"""Commands that messages name, and pages of help: each is run as it is written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advice_of_files import in_data
from advised import Case, told
from advised_runs import own, printed, written
from dreams import Brings, Dreams
from preset_files import preset
from shown_images import FAST, image

from mflux_teacache import attach
from mflux_teacache.presets.preset import as_text


def cases(folder: Path) -> dict[str, Case]:
    """By name.

    Args:
        folder: an empty one, for the files that they are about.
    """
    picture = image(folder, "picture.png", FAST)
    data = folder / "data"
    return {
        "an option that our command does not have": _named(own("bench", "speed", "--nonsense"), "See `"),
        "a command that we do not have": _named(own("plugin"), "See `"),
        "an option that a plugin does not have": Case(
            own("demo", "--plugin", "teacache", "--teacache-tresh", 0.3),
            "`--plugin teacache --help` lists its options.",
            [own("demo", "--plugin", "teacache", "--help")],
        ),
        "a transformer that nobody has described": Case(
            lambda: attach(Dreams(), "first-block-cache"),
            "`mflux-teacache plugins` lists every pipeline.",
            [own("plugins"), lambda: attach(Dreams(), _Described)],
        ),
        "an image in place of a preset": Case(
            in_data(data, own("presets", "import", picture)),
            "`mflux-teacache show` tells of it.",
            [own("show", picture)],
        ),
        "a broken file among the presets": Case(
            _with_a_broken_one(data, printed("presets", "list")),
            "`mflux-teacache presets remove bad` deletes it.",
            [_with_a_broken_one(data, in_order(own("presets", "remove", "bad"), lambda: _lists(data, "mine")))],
        ),
    }


def in_order(*acts: Callable[[], Any]) -> Callable[[], Any]:
    """One after the other."""

    def act() -> None:
        for each in acts:
            each()

    return act


def _named(wrong: Callable[[], Any], said: str) -> Case:
    """What names a command of ours, which is run."""

    def run() -> None:
        [command] = re.findall("`mflux-teacache (.*?)`", told(wrong) or "")
        own(*shlex.split(command))()

    return Case(wrong, said, [run])


class _Described(Brings):
    """A plugin that adds the transformer."""


def _with_a_broken_one(data: Path, act: Callable[[], Any]) -> Callable[[], Any]:
    def beside() -> None:
        presets = data / "presets"
        presets.mkdir(parents=True, exist_ok=True)
        written(presets / "mine.json", as_text(preset("mine")))
        written(presets / "bad.json", "{")
        act()

    return in_data(data, beside)


def _lists(data: Path, *names: str) -> None:
    said = told(printed("presets", "list")) or ""
    assert "warning" not in said
    assert [row.split()[0] for row in said.splitlines()[1:]] == list(names)
