"""``bench memory``: its exit code says whether something is kept of an image."""

from __future__ import annotations

from typing import Any

import pytest

from mflux_teacache.bench import command, memory, variants
from mflux_teacache.cli.own.main import main


def run(*words: str) -> Any:
    with pytest.raises(SystemExit) as leaving:
        main(["bench", "memory", *words])
    return leaving.value.code


@pytest.mark.slow
def test_nothing_is_kept(capsys):
    assert run("--images", "3", "--steps", "4") == 0
    first, *_, growth = capsys.readouterr().out.splitlines()
    assert first.startswith("after image   2: ")
    assert growth.startswith("growth from image 2 to 3: ")


@pytest.mark.slow
def test_the_setting_is_at_work_in_images_of_so_many_steps(monkeypatch):
    handles = []
    attach_requests = variants.attach_requests
    monkeypatch.setattr(
        variants,
        "attach_requests",
        lambda *words, **more: handles.append(attach_requests(*words, **more)) or handles[-1],
    )
    assert len(list(memory.active_memory(2, 5, "schedule every=2"))) == 2
    assert [image.pattern for image in handles[0].stats.history] == ["CSCSC"] * 2


def test_what_mlx_keeps_itself_is_allowed(monkeypatch, capsys):
    monkeypatch.setattr(memory, "version", lambda _: "0.31.2")
    for kept, code in ((2 * 2048, 0), (2 * 2048 + 1, 1)):
        monkeypatch.setattr(memory, "active_memory", lambda *_, kept=kept: iter([9, 5, 5, 5 + kept]))
        assert run("--images", "4") == code
        assert f"{kept} bytes, of which MLX before 0.32 itself may keep 4096" in capsys.readouterr().out
    monkeypatch.setattr(memory, "version", lambda _: "1.0.0")
    assert memory.kept_by_mlx() == 0


@pytest.mark.parametrize(("kept", "code"), [([9, 5, 5, 5], 0), ([9, 5, 7, 6], 1), ([9, 5, 7, 4], 0)])
def test_growth_is_an_exit_code(monkeypatch, capsys, kept, code):
    monkeypatch.setattr(memory, "kept_by_mlx", lambda: 0)
    monkeypatch.setattr(memory, "active_memory", lambda *_: iter(kept))
    assert run("--images", "4") == code
    assert f"growth from image 2 to 4: {kept[-1] - 5} bytes" in capsys.readouterr().out


def test_what_is_refused(capsys):
    assert run("--images", "2") == 2
    assert "--images is 2; it must be a whole number from 3" in capsys.readouterr().err
    assert run("--setting", "teacache thresh=-1") == 2
    assert memory in command.SUBCOMMANDS
