"""Files are refused before anything is done for them."""

import os
from pathlib import Path

import pytest

from mflux_teacache.errors import NotWritten, OptionError
from mflux_teacache.output_files import check_output, writing


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    Path("old.png").touch()


@pytest.mark.parametrize("path", ["new.png", "A.PNG", "old.png", "folder.png/new.png"])
def test_what_can_be_written(path):
    check_output("--png", Path(path), ".png")


def test_any_suffix():
    check_output("--png", Path("picture"))
    with pytest.raises(OptionError, match="--png is nowhere/picture, but there is no folder nowhere"):
        check_output("--png", Path("nowhere/picture"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.txt", r"--png is a\.txt; its name must end in \.png\. Try --png a\.png\."),
        ("a", r"Try --png a\.png\."),
        ("", r"--png is \.; its name must end in \.png\. Try --png result\.png\."),
        ("no/a.png", r"--png is no/a\.png, but there is no folder no\. Make it first"),
        ("folder.png", r"--png is folder\.png, which is a folder\. Give the name of a file in it\."),
    ],
)
def test_what_cannot(path, message):
    with pytest.raises(OptionError, match=message):
        check_output("--png", Path(path), ".png")


def test_without_permission(monkeypatch):
    """The file's own where there is one, else the folder's. Root may write everywhere, so it is only asked."""
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((str(path), mode)) or False)
    for path in ("old.png", "new.png"):
        with pytest.raises(OptionError, match=rf"--png is {path}, which cannot be written\. Name a file"):
            check_output("--png", Path(path), ".png")
    assert asked == [("old.png", os.W_OK), (".", os.W_OK)]


def test_what_turns_out_not_to_be_writable_is_named():
    with (
        pytest.raises(NotWritten, match="--png is folder.png, which could not be written: Is a directory"),
        writing("--png", Path("folder.png")),
    ):
        Path("folder.png").write_text("x")
    with pytest.raises(ZeroDivisionError), writing("--png", Path("new.png")):
        1 / 0  # noqa: B018
