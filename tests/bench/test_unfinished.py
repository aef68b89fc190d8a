"""A run of ``bench quality`` that was cut off goes on from its JSON file, and comes to the same."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
from mflux.callbacks.callback_registry import CallbackRegistry

from mflux_teacache.bench import judging, quality, unfinished
from mflux_teacache.bench.runs import Done, Setting
from mflux_teacache.bench.variants import Variant
from mflux_teacache.cli.own.main import build_parser
from mflux_teacache.demo import model as demo
from mflux_teacache.errors import OptionError, PluginWarning, Refused

SETTINGS = ("schedule every=2", "schedule pattern=CSCC", "schedule ratio=0.5", "teacache thresh=0")
PATTERNS = {"schedule every=2": "CSCSC", "schedule ratio=0.5": "CSSSC", "teacache thresh=0": "CCCCC"}
WORDS = (*(word for setting in SETTINGS for word in ("--setting", setting)), "--prompts", "2", "--seeds", "2")


@dataclass
class Painter:
    """Stands in for the demo's model: an image depends on what is asked for and attached, and on nothing else.

    Attributes:
        fails: what happens at the image of this number.
        compared: what was drawn to be compared.
    """

    fails: tuple[int, BaseException] | None = None
    attached: str = judging.FULL
    drawn: int = 0
    compared: list[Any] = field(default_factory=list)

    def generate_image(self, *, prompt: str, seed: int, num_inference_steps: int, **_: Any) -> Any:
        if self.fails is not None and self.drawn == self.fails[0]:
            raise self.fails[1]
        self.drawn += 1
        what = (self.attached, prompt, seed, num_inference_steps)
        if self.attached != judging.FULL or num_inference_steps < 5:
            self.compared.append(what)
        noise = np.random.default_rng(list(hashlib.sha256(repr(what).encode()).digest()))
        return SimpleNamespace(image=PIL.Image.fromarray(noise.integers(0, 255, (16, 16, 3), dtype=np.uint8)))

    def with_setting(self, setting: Setting) -> Variant:
        @contextlib.contextmanager
        def attach(model: Any) -> Iterator[Any]:
            if str(setting) not in PATTERNS:
                raise Refused("not this one")
            self.attached = str(setting)
            pattern = PATTERNS[str(setting)]
            try:
                yield lambda: Done(pattern, pattern.count("C"), None if "S" in pattern else "why")
            finally:
                self.attached = judging.FULL

        return Variant(str(setting), attach)


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Painter:
    painter = Painter()
    model = SimpleNamespace(callbacks=CallbackRegistry(), generate_image=painter.generate_image)
    monkeypatch.setattr(demo, "tiny_klein", lambda: contextlib.nullcontext(model))
    monkeypatch.setattr(judging, "with_setting", painter.with_setting)
    return painter


def parsed(folder: Path, *words: str, sheet: bool = False) -> argparse.Namespace:
    files = ("--json", str(folder / "q.json"), *(("--sheet", str(folder / "s.png")) if sheet else ()))
    return build_parser().parse_args(["bench", "quality", *WORDS, "--steps", "5", *files, *words])


def written(folder: Path) -> Any:
    return {**json.loads((folder / "q.json").read_text()), "date": None}


class Crash(Exception):
    pass


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 9))])
def test_an_interruption_at_any_image_changes_nothing(seed: int, painter: Painter, tmp_path: Path) -> None:
    """Ctrl-C, which writes the results so far, or a crash, which does not; several of them."""
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    assert quality.run(parsed(tmp_path / "whole", sheet=True)) == 0
    images, compared = painter.drawn, len(painter.compared)
    assert written(tmp_path / "whole")["fewer_steps"]["summary"]

    painter.compared.clear()
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        painter.fails = (painter.drawn + chance.randrange(images), chance.choice([Crash(), KeyboardInterrupt()]))
        with contextlib.suppress(Crash, KeyboardInterrupt):
            quality.run(parsed(tmp_path / "cut", sheet=True))
    painter.fails = None
    assert quality.run(parsed(tmp_path / "cut", sheet=True)) == 0
    assert written(tmp_path / "cut") == written(tmp_path / "whole")
    assert (tmp_path / "cut" / "s.png").read_bytes() == (tmp_path / "whole" / "s.png").read_bytes()
    assert len(set(painter.compared)) == compared


def test_what_is_done_is_kept_after_each_image_and_not_drawn_again(
    painter: Painter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = parsed(tmp_path)
    for done in (1, 4, 7):  # 4 full runs come before the first of them, each time
        painter.fails = (painter.drawn + 4 + (done - len(painter.compared)), Crash())
        with pytest.raises(Crash):
            quality.run(arguments)
        content = json.loads((tmp_path / "q.json").read_text())
        assert content["interrupted"]
        assert len(content["runs"]) == len(painter.compared) == done
        assert len(content["summary"]) == (done - 1) // 4  # rows that were whole before the last image
    painter.fails = None
    capsys.readouterr()
    assert quality.run(arguments) == 0
    assert len(painter.compared) == len(set(painter.compared))
    said = capsys.readouterr().out
    assert "q.json has an unfinished run of this, which goes on: 7 of these images are there." in said
    assert not written(tmp_path)["interrupted"]


def test_ctrl_c_says_what_is_missing_and_the_sheet_shows_what_there_is(
    painter: Painter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    painter.fails = (9, KeyboardInterrupt())
    assert quality.run(parsed(tmp_path, sheet=True)) == 130
    assert "drawn whole, and fewer steps come after all of them" in capsys.readouterr().out
    painter.fails = (painter.drawn, KeyboardInterrupt())  # at once, with nothing for the sheet
    assert quality.run(parsed(tmp_path, sheet=True)) == 130
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert len(written(tmp_path)["runs"]) == 5


@pytest.mark.parametrize(
    ("words", "different"),
    [
        (["--guidance", "3"], "arguments.guidance is 2.5 there and 3.0 here"),
        (["--first-seed", "8"], r"seeds: \[101, 102\] only there, \[8, 9\] only here"),
        (["--setting", "easycache"], r"settings: \[\] only there, \[\{.*easycache.*\}\] only here"),
        (["--size", "64x64"], "arguments.width is 192 there and 64 here; arguments.height is"),
    ],
)
def test_an_unfinished_run_of_something_else_is_not_overwritten(
    words: list[str], different: str, painter: Painter, tmp_path: Path
) -> None:
    painter.fails = (6, Crash())
    with pytest.raises(Crash):
        quality.run(parsed(tmp_path))
    before = (tmp_path / "q.json").read_bytes()
    with pytest.raises(OptionError, match=f"q.json, which holds an unfinished run of something else: {different}"):
        quality.run(parsed(tmp_path, *words))
    assert (tmp_path / "q.json").read_bytes() == before
    assert painter.drawn == 6


def test_versions_are_part_of_the_question(painter: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painter.fails = (6, Crash())
    with pytest.raises(Crash):
        quality.run(parsed(tmp_path))
    monkeypatch.setattr("mflux_teacache.bench.results.version", lambda distribution: "99")
    with pytest.raises(OptionError, match=r"versions\.mlx is '[\d.]+' there and '99' here"):
        quality.run(parsed(tmp_path))


def test_a_finished_run_and_any_other_file_are_overwritten(painter: Painter, tmp_path: Path) -> None:
    for content in ("{", "[]", '{"interrupted": "no"}'):
        (tmp_path / "q.json").write_text(content)
        assert quality.run(parsed(tmp_path)) == 0
    compared = len(painter.compared)
    assert quality.run(parsed(tmp_path, "--guidance", "3")) == 0
    assert len(painter.compared) == compared * 4 // 3


@pytest.mark.parametrize(
    "damage",
    [
        {"runs": [{}]},
        {"runs": [7]},
        {"runs": None},
        {"fewer_steps": None},
        {"fewer_steps": {}},
    ],
)
def test_an_unfinished_run_that_was_damaged(damage: dict[str, Any], painter: Painter, tmp_path: Path) -> None:
    painter.fails = (6, Crash())
    with pytest.raises(Crash):
        quality.run(parsed(tmp_path))
    content = json.loads((tmp_path / "q.json").read_text())
    (tmp_path / "q.json").write_text(json.dumps(content | damage))
    with pytest.raises(OptionError, match="holds an unfinished run that cannot be read"):
        quality.run(parsed(tmp_path))
    (tmp_path / "q.json").write_text(json.dumps(content).replace('"ssim": ', '"ssim": "a", "_": '))
    with pytest.raises(OptionError, match="holds an unfinished run that cannot be read"):
        quality.run(parsed(tmp_path))


def test_a_full_disk_costs_no_run(painter: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace
    full = iter([True, True])

    def fail(source: Path, target: Path) -> None:
        if next(full, False):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(PluginWarning, match=r"q\.json, which could not be written: No space left.*tries again"):
        assert quality.run(parsed(tmp_path)) == 0
    assert not written(tmp_path)["interrupted"]


def test_a_pipe_gets_nothing_on_the_way(tmp_path: Path) -> None:
    pipe = tmp_path / "q.json"
    os.mkfifo(pipe)
    assert unfinished.drawn(pipe, {}) == []
    unfinished.keep(pipe, b"{}")  # it would fail without a reader
