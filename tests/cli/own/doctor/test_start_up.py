"""The start-up file: each way in which mflux's commands may come not to know ``--plugin``, and what to do."""

from __future__ import annotations

import site
import stat
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

from mflux_teacache.cli import startup
from mflux_teacache.cli.own.doctor import start_up
from mflux_teacache.cli.own.doctor.page import Part
from mflux_teacache.cli.own.doctor.probe import Failed
from mflux_teacache.installation import installing

CLI = Path(startup.__file__).parent
WORKS = {"finder": True, "option": True}
NOT_RUN = {"finder": False, "option": False}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The only site-packages, with the start-up files in it."""
    for name in ("mflux_teacache.pth", "mflux_teacache.start"):
        (tmp_path / name).write_bytes((CLI / name).read_bytes())
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    monkeypatch.delenv(start_up.OFF, raising=False)
    return tmp_path


def of(monkeypatch, answer, *problems):
    def answer_of(script: str, name: str) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(start_up, "answer_of", answer_of)
    return start_up.start_up(Part("MLX", {}, problems))


def test_in_place_and_at_work(folder, monkeypatch):
    part = of(monkeypatch, WORKS)
    assert part.broken == []
    assert part.facts["found in"] == str(folder)
    assert part.facts["content"] == "as installed"
    assert part.facts["at work"] == "yes, mflux's commands know --plugin"


@pytest.mark.parametrize(("version", "name"), [((3, 14, 9), "pth"), ((3, 15, 0), "start")])
def test_which_of_the_two(folder, monkeypatch, version, name):
    class Version(tuple):
        major, minor = version[:2]

    monkeypatch.setattr(start_up.sys, "version_info", Version(version))
    (folder / f"mflux_teacache.{name}").unlink()
    part = of(monkeypatch, NOT_RUN)
    assert part.facts["file"] == f"mflux_teacache.{name}, which Python {version[0]}.{version[1]} reads"
    assert part.facts["found in"] == "no folder that Python reads at its start"
    [broken] = part.broken
    assert f"the start-up file mflux_teacache.{name} is missing. Put it back with `" in broken


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (NOT_RUN, "does not work: it was not run. Install it anew with `"),
        (Failed("mflux_teacache: --plugin is off: X"), "does not work: mflux_teacache: --plugin is off: X. Install"),
        ({"finder": True, "failure": "ImportError: no"}, "imported (ImportError: no). Install mflux anew with `"),
        (
            {"finder": True, "option": False},
            f"mflux-teacache-plugin, or an earlier mflux with `{installing('mflux<' + version('mflux'))}`.",
        ),
    ],
)
def test_it_is_there_and_does_not_work(folder, monkeypatch, answer, said):
    [broken] = of(monkeypatch, answer).broken
    assert broken.startswith("mflux's commands do not know --plugin: ")
    assert said in broken


def test_another_content_is_told(folder, monkeypatch):
    (folder / start_up.file_name()).write_text("import sys\n")
    part = of(monkeypatch, NOT_RUN)
    assert part.facts["content"] == "of another version, or changed"
    assert part.broken


def test_switched_off(folder, monkeypatch):
    monkeypatch.setenv(start_up.OFF, "0")
    [broken] = of(monkeypatch, WORKS).broken
    assert broken.endswith(
        "MFLUX_PLUGINS=0 in the environment switches this package off. Switch it on with `unset MFLUX_PLUGINS`."
    )


def test_a_file_that_macos_hides(folder, monkeypatch):
    path = folder / start_up.file_name()
    hidden = type("Status", (), {"st_flags": stat.UF_HIDDEN})()
    monkeypatch.setattr(type(path), "lstat", lambda self: hidden)
    [broken] = of(monkeypatch, NOT_RUN).broken
    assert broken.endswith(f"Show it with `chflags nohidden {path}`.")


def test_without_mlx_there_is_nothing_to_try(folder, monkeypatch):
    part = of(monkeypatch, NOT_RUN, "broken")
    assert part.broken == []
    assert part.facts["at work"] == "not tried, since MLX does not work"


def test_the_files_that_it_looks_for_are_those_that_are_installed():
    listed = {str(file) for file in distribution("mflux-teacache-plugin").files or ()}
    assert start_up.file_name() in listed
