"""The files that a measurement is to write."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from shown_images import MADE, image

from mflux_teacache.bench.outputs import add_outputs, outputs
from mflux_teacache.errors import OptionError


def asked(*words: str) -> dict[str, Path]:
    parser = argparse.ArgumentParser()
    add_outputs(parser.add_argument_group(), json="figures", png="a picture", sheet="images")
    for name in ("--model", "--prompts", "--image-path"):
        parser.add_argument(name)
    parser.add_argument("--lora-paths", nargs="+")
    return outputs(parser.parse_args(words))


def test_files_by_their_options(tmp_path: Path) -> None:
    assert asked() == {}
    json, sheet = tmp_path / "a.json", tmp_path / "a.png"
    assert asked("--sheet", str(sheet), "--json", str(json)) == {"--json": json, "--sheet": sheet}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json", "a.png"], "--json is a.png; its name must end in .json"),
        (["--sheet", "a.json"], "--sheet is a.json; its name must end in .png"),
        (["--png", "a.png", "--sheet", "./a.png"], "--png and --sheet both are a.png. Give each a file of its own"),
    ],
)
def test_what_cannot_be_written_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        asked(*words)


def test_no_input_is_replaced_nor_an_image_of_mflux_s(tmp_path: Path) -> None:
    photo, link = image(tmp_path, "photo.png", None), tmp_path / "link.png"
    link.symlink_to(photo)
    for words in (["--image-path", photo, "--png", link], ["--prompts", photo, "--sheet", photo]):
        with pytest.raises(OptionError, match="which this command reads and would replace. Name a file that is new"):
            asked(*map(str, words))
    with pytest.raises(OptionError, match="which this command reads"):
        asked("--lora-paths", "x", str(tmp_path / "lora.json"), "--json", str(tmp_path / "lora.json"))
    with pytest.raises(OptionError, match="an image that mflux drew"):
        asked("--png", str(image(tmp_path, "full.png", MADE)))
    assert asked("--png", str(photo)) == {"--png": photo}
