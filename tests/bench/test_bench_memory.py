"""``bench memory``: its exit code says whether something is kept of an image."""

from __future__ import annotations

from typing import Any

import pytest

from mflux_teacache.bench import command, memory
from mflux_teacache.cli.main import main


def run(*words: str) -> Any:
    with pytest.raises(SystemExit) as leaving:
        main(["bench", "memory", *words])
    return leaving.value.code


def test_nothing_is_kept(capsys):
    assert run("--images", "3", "--steps", "4") == 0
    first, *_, growth = capsys.readouterr().out.splitlines()
    assert first.startswith("after image   2: ")
    assert growth == "growth from image 2 to 3: 0 bytes"


@pytest.mark.parametrize(("kept", "code"), [([9, 5, 5, 5], 0), ([9, 5, 7, 6], 1), ([9, 5, 7, 4], 0)])
def test_growth_is_an_exit_code(monkeypatch, capsys, kept, code):
    monkeypatch.setattr(memory, "active_memory", lambda *_: iter(kept))
    assert run("--images", "4") == code
    assert f"growth from image 2 to 4: {kept[-1] - 5} bytes" in capsys.readouterr().out


def test_what_is_refused(capsys):
    assert run("--images", "2") == 2
    assert "--images is 2; it must be a whole number from 3" in capsys.readouterr().err
    assert run("--setting", "teacache thresh=-1") == 2
    assert memory in command.SUBCOMMANDS
