"""Where the finished images of an unfinished tuning are kept, so that the same command can go on from them.

A folder for each question: model, size, steps, versions, machine and so on. In it are, for each image, the picture as a
PNG and then a JSON file with the figures, each written whole or not at all. A file that cannot be read is as good as
none: its image is drawn again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image

from mflux_teacache.bench.runs import Case, JudgedRun
from mflux_teacache.bench.unfinished import run_of
from mflux_teacache.errors import NotWritten, Refused
from mflux_teacache.image_quality import Levels, levels
from mflux_teacache.pieces.input_files import Unreadable, open_file, parse_json, read_text, reason
from mflux_teacache.pieces.output_files import replace_file
from mflux_teacache.presets import store
from mflux_teacache.tune.recorded import Recorded, from_json

MOST_BYTES = 50_000_000  # a thousand steps have 20 MB

_QUESTION = "question.json"
_LETTERS = 16  # of a digest: enough for a folder, and short enough to be told apart by eye


class Full(NamedTuple):
    """A full run, and its picture."""

    recorded: Recorded
    image: Levels


class Folder:
    """The images of one question.

    Args:
        question: all that the images depend on, but for prompt and seed, as JSON has it.

    Raises:
        Refused: it cannot be made, or takes no file.
    """

    def __init__(self, question: Mapping[str, Any]) -> None:
        text = json.dumps(question, indent=1, sort_keys=True)
        self.path = store.folder().with_name("tune") / _digest(text)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            replace_file(self.path / _QUESTION, text.encode())
        except OSError as error:
            raise Refused(
                f"what is drawn is to be kept in {self.path}, where nothing can be written: {reason(error)}. Make room "
                f"or correct its permissions, or name another data directory in {store.VARIABLE}."
            ) from error

    @property
    def kept(self) -> str:
        """How many images are there, and how they are of use, for people."""
        images = sum(path.name != _QUESTION for path in self.path.glob("*.json"))
        if not images:
            return "no image was finished. Run the same command to begin again."
        return (
            f"{images} finished {'images are' if images > 1 else 'image is'} kept in {self.path}. Run the same command "
            f"to go on."
        )

    def full(self, case: Case) -> Full | None:
        """The full run of a case, if it is there."""
        path = self._path("full", case)
        content = _read(path)
        try:
            with open_file(path.with_suffix(".png")) as file, PIL.Image.open(file) as image:
                return Full(from_json(content["recorded"]), levels(image))
        except (Unreadable, OSError, SyntaxError, KeyError, TypeError, ValueError):
            return None

    def keep_full(self, case: Case, recorded: Recorded, image: PIL.Image.Image) -> None:
        """Raises ``NotWritten``, as do the others that keep."""
        self._keep(self._path("full", case), image, {"recorded": recorded.as_json()})

    def judged(self, setting: str, case: Case) -> JudgedRun | None:
        """How an image of a setting compares with its full run, if that is known."""
        content = _read(self._path(setting, case))
        try:
            return run_of(content["run"])
        except (KeyError, TypeError):
            return None

    def keep_judged(self, run: JudgedRun, image: PIL.Image.Image) -> None:
        self._keep(self._path(run.setting, run.case), image, {"run": asdict(run)})

    def _path(self, what: str, case: Case) -> Path:
        return self.path / f"{_digest(json.dumps([what, case.prompt, case.seed]))}.json"

    def _keep(self, path: Path, image: PIL.Image.Image, content: Mapping[str, Any]) -> None:
        picture = io.BytesIO()
        image.save(picture, "PNG")
        try:
            self.path.mkdir(parents=True, exist_ok=True)  # somebody may have deleted it
            # The picture first, so that whoever finds the figures finds it too.
            replace_file(path.with_suffix(".png"), picture.getvalue())
            replace_file(path, json.dumps(content).encode())
        except OSError as error:
            raise NotWritten(
                f"an image could not be kept in {self.path}: {reason(error)}. Those before it are kept: make room, and "
                f"run the same command to go on; or name another data directory in {store.VARIABLE}."
            ) from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_LETTERS]


def _read(path: Path) -> dict[str, Any]:
    """The object in a file; empty if there is none."""
    try:
        content = parse_json(read_text(path, MOST_BYTES))
    except (Unreadable, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
