"""The user's presets on disk."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from preset_files import preset
from write_faults import torment

from mflux_teacache.errors import NotWritten, OptionError, PluginWarning
from mflux_teacache.pieces import output_files
from mflux_teacache.presets import store
from mflux_teacache.presets.preset import as_text


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "data"))
    return tmp_path / "data" / "presets"


def test_without_the_variable_it_is_in_the_user_s_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(store.VARIABLE)
    assert store.folder().parts[-2:] == ("mflux-teacache", "presets")
    assert store.folder().is_absolute()


def test_save_load_list_remove(folder: Path) -> None:
    assert store.stored() == []
    one, two = preset("one"), preset("two")
    assert store.save(two) == folder / "two.json"
    store.save(one)
    assert store.load("one") == one
    assert store.stored() == [("one", one, ""), ("two", two, "")]
    store.remove("one")
    assert [*store.usable()] == [two]


def test_a_renamed_file_has_the_name_of_the_file(folder: Path) -> None:
    store.save(preset("one")).rename(folder / "other.json")
    assert store.load("other").name == "other"


def test_what_cannot_be_found() -> None:
    store.save(preset("mine"))
    for act in (store.load, store.remove):
        with pytest.raises(OptionError, match=r"no preset 'mime' in .* It has: mine\. Did you mean mine\?"):
            act("mime")
        with pytest.raises(OptionError, match=r"'\.\./mine' cannot be the name of a preset; it must be at most 100"):
            act("../mine")


def test_a_preset_that_could_not_be_read_is_not_written(folder: Path) -> None:
    with pytest.raises(OptionError, match="a list of 1 to 64 objects"):
        store.save(preset(settings=()))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("bad", b"{", r"bad\.json is not JSON"),
        ("bad", b"\xff", r"bad\.json cannot be read: it is not UTF-8"),
        (
            "bad",
            b'{"schema": 1, "name": "a calibration"}',
            r"bad\.json is no preset: it has none of the fields key, provenance. Import it anew",
        ),
        ("bad", b" " * 1_000_001, "at most 1 MB are read of such a file"),
        ("Bad", b"{}", r"Bad\.json cannot have this name"),
    ],
)
def test_a_foreign_file_is_named_and_the_others_are_used(folder: Path, name: str, content: bytes, problem: str) -> None:
    store.save(preset("mine"))
    (folder / f"{name}.json").write_bytes(content)
    (folder / "notes.txt").write_text("not looked at")
    found = {entry.name: entry for entry in store.stored()}
    assert found.keys() == {"mine", name}
    assert found["mine"].preset == preset("mine")
    assert found[name].preset is None
    assert re.search(problem, found[name].problem)
    with pytest.warns(PluginWarning, match=problem):
        assert [*store.usable()] == [preset("mine")]


def test_a_folder_and_a_pipe_in_the_store(folder: Path) -> None:
    store.save(preset("mine"))
    (folder / "a.json").mkdir()
    os.mkfifo(folder / "b.json")
    assert [entry.problem.partition(": ")[2] for entry in store.stored() if entry.preset is None] == [
        f"it is a {kind}, and only regular files are read. Import it anew with `mflux-teacache presets import FILE "
        "--replace`, or move it away."
        for kind in ("folder", "pipe")
    ]


def test_a_corrupt_preset_can_be_removed(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "bad.json").write_text("{")
    with pytest.raises(OptionError, match="not JSON"):
        store.load("bad")
    store.remove("bad")
    assert store.stored() == []


@pytest.mark.parametrize("target", ["nowhere.json", "mine.json"])
def test_a_link_that_leads_nowhere_is_named_and_can_be_removed(folder: Path, target: str) -> None:
    folder.mkdir(parents=True)
    (folder / "mine.json").symlink_to(target)
    with pytest.raises(OptionError, match=r"cannot be read: .*presets import FILE --replace`, or move it away\."):
        store.load("mine")
    store.remove("mine")
    assert store.stored() == []


def test_a_full_disk_leaves_the_old_preset_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.save(preset("mine"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output_files.os, "fsync", full)
    with pytest.raises(NotWritten, match=r"mine could not be written to .*No space left.*unchanged\. Make room"):
        store.save(preset("mine", sigmas=(1.0,)))
    assert path.read_text() == as_text(preset("mine"))
    assert [*folder.iterdir()] == [path]


@pytest.mark.slow
def test_killed_while_writing_leaves_the_old_preset_whole(folder: Path) -> None:
    path = store.save(preset("mine"))
    tried, problems = torment(path, as_text(preset("mine", sigmas=(1.0,))).encode())
    assert tried > 20
    assert problems == []


@pytest.mark.parametrize("act", ["mkdir", "unlink"])
def test_a_directory_that_takes_nothing(act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By injection, since the tests may run as a user who may write everywhere."""
    store.save(preset("mine"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, act, refuse)
    with pytest.raises(NotWritten, match="Permission denied"):
        store.save(preset("other")) if act == "mkdir" else store.remove("mine")
    assert store.load("mine") == preset("mine")


def test_a_directory_that_cannot_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(OptionError, match=r"cannot be listed: Permission denied\. Correct its permissions"):
        store.stored()


@pytest.mark.parametrize("place", ["data", "data/presets"])
def test_a_file_where_the_directory_should_be(place: str, tmp_path: Path) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("")
    assert store.stored() == []
    with pytest.raises(NotWritten, match="could not be written to"):
        store.save(preset("mine"))


@given(name=some.text(max_size=20) | some.sampled_from(["..", ".hidden", "a/b", "a\\b", "a\x00b", "-a", "a" * 101]))
def test_no_name_leads_out_of_the_store(name: str) -> None:
    try:
        path = store.path_of(name)
    except OptionError:
        return
    assert path.parent == store.folder()
    assert path.name == f"{name}.json"


def test_a_data_directory_in_nobody_s_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.VARIABLE, "~nobody-of-that-name/data")
    for act in (store.folder, store.stored, lambda: store.load("mine")):
        with pytest.raises(OptionError, match=f"{store.VARIABLE} is '~nobody-of-that-name/data', whose home directory"):
            act()


def test_a_data_directory_that_is_too_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / ("a" * 300)))
    with pytest.raises(OptionError, match="cannot be looked at: .* name another data directory"):
        store.load("mine")
