"""``mflux-teacache presets``: each act, and what each wrong use says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from preset_files import EVIDENCE, KEY, PROVENANCE, SETTINGS, preset

from mflux_teacache.cli.own import main
from mflux_teacache.presets import store
from mflux_teacache.presets.preset import as_text
from mflux_teacache.presets.settings import on_a_command_line


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "data"))
    return tmp_path / "data" / "presets"


def run(capsys: Any, *argv: str, code: int = 0) -> tuple[str, str]:
    """What the command prints on its two streams."""
    with pytest.raises(SystemExit) as leaving:
        main.main(["presets", *argv])
    printed = capsys.readouterr()
    assert leaving.value.code == code, printed.err
    return printed.out, printed.err


def test_without_presets(capsys: Any, data: Path) -> None:
    assert run(capsys, "list") == (f"There are no presets in {data}. `mflux-teacache tune` makes one.\n", "")
    assert json.loads(run(capsys, "list", "--json")[0]) == []


def test_without_any_preset_it_says_how_to_get_one(capsys: Any, data: Path) -> None:
    _, err = run(capsys, "show", "mine", code=2)
    assert f"There is no preset 'mine' in {data}, nor any other. `mflux-teacache tune` makes one." in err


def test_list(capsys: Any, data: Path) -> None:
    store.save(preset("mine"))
    store.save(preset("plain", key=replace(KEY, bits=None, loras={}), provenance=replace(PROVENANCE, made="1\x1b[2J")))
    (data / "bad.json").write_text("{")
    (data / "Odd.json").write_text("{")
    out, err = run(capsys, "list")
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "MODEL", "BITS", "LORAS", "SIZE", "STEPS", "GUIDANCE", "COMPUTED", "MADE"],
        ["mine", KEY.model, "8", "style.safetensors", "at", "0.8", "1024x1024", "10", "3.5", "4,6", "2026-11-27"],
        ["plain", KEY.model, "-", "-", "1024x1024", "10", "3.5", "4,6", "1\\x1b[2J"],
    ]
    odd, bad = err.splitlines()
    assert odd.startswith("mflux-teacache: warning: The preset ")
    assert odd.endswith("the first a letter or digit. Rename it, or move it away.")
    assert "bad.json is not JSON" in bad
    assert bad.endswith("`mflux-teacache presets remove bad` deletes it.")
    assert [entry["name"] for entry in json.loads(run(capsys, "list", "--json")[0])] == ["mine", "plain"]
    assert run(capsys, "remove", "bad")[0] == "bad is removed\n"


def test_show(capsys: Any) -> None:
    same = replace(SETTINGS[0], evidence=replace(EVIDENCE, psnr_mean=None, fewer_steps_psnr=None))
    store.save(preset("mine", settings=(same, SETTINGS[1]), provenance=replace(PROVENANCE, note="A note.")))
    lines = run(capsys, "show", "mine")[0].splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines[:4]] == ["preset", "made", "made", "fitted"]
    assert lines[1].endswith(
        "(Flux1), 8 bits, style.safetensors at 0.8, 1024x1024 pixels, 10 steps, guidance 3.5, LinearScheduler"
    )
    assert "note        A note." in lines
    first, second = (next(line for line in lines if line.startswith(f"{computed} of 10")) for computed in (4, 6))
    assert first.split()[:9] == ["4", "of", "10", "2.50x", "infinite,", "27.0", "0.9700,", "0.9300", "4"]
    assert first.split()[9:] == ["-", *on_a_command_line(SETTINGS[0]).split()]
    assert second.endswith(
        "--plugin teacache --teacache-max-computed=6 --teacache-coefficients=1.0,0.0 --teacache-forecast=1"
    )
    assert run(capsys, "show", "mine", "--json")[0] == as_text(store.load("mine"))


def test_export_and_import(capsys: Any, tmp_path: Path) -> None:
    store.save(preset("mine"))
    shared = tmp_path / "shared.json"
    assert run(capsys, "export", "mine", str(shared))[0] == f"mine is in {shared}\n"
    assert shared.read_text() == as_text(preset("mine"))
    shared.write_text("another")
    run(capsys, "export", "mine", str(shared), "--replace")
    assert shared.read_text() == as_text(preset("mine"))
    _, err = run(capsys, "import", str(shared), code=2)
    assert "There is a preset mine already. Give --replace to put" in err
    run(capsys, "import", str(shared), "--name", "other")
    assert store.load("other") == preset("other")
    store.save(preset("mine", sigmas=(1.0,)))
    out, _ = run(capsys, "import", str(shared), "--replace")
    assert out.startswith(
        f"mine is in {store.folder()}/mine.json. It was made for black-forest-labs/FLUX.1-dev (Flux1)"
    )
    assert store.load("mine") == preset("mine")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("show", "mime"), "There is no preset 'mime' in "),
        (("show", "../mine"), "'../mine' cannot be the name of a preset; it must be at most 100"),
        (("export", "mime", "x.json"), "Did you mean mine?"),
        (("export", "mine", "/nowhere/x.json"), "but there is no folder /nowhere. Make it first"),
        (("export", "mine", "{tmp}/victim.png"), "its name must end in .json. Try {tmp}/victim.json."),
        (("export", "mine", "{tmp}/mine.json"), "Give --replace to replace it, or another name."),
        (("export", "mine", "{tmp}/data/presets/mine.json", "--replace"), "which this command reads"),
        (("import", "/nowhere/x.json"), "No such file or directory. Write its name and folder as `ls` shows them."),
        (("import", "{tmp}/victim.png"), "is an image by its name, and no preset; `mflux-teacache show` tells of it."),
        (("import", "{tmp}/broken.json"), "Name a file that `mflux-teacache presets export` has written"),
        (("import", "{tmp}/a.metadata.json"), "is no preset: it is what mflux records of an image. Name a file that"),
        (("import", "{tmp}/foreign.json"), "is no preset: it has none of the fields key, provenance. Name a file that"),
        (
            ("import", "https://x.org/y.json"),
            "'https://x.org/y.json' is an address, and a file of this machine is needed",
        ),
        (("import", "{tmp}/mine.json", "--name", "A/B"), "'A/B' cannot be the name of a preset"),
        (("remove", "mine", "nothing"), "There is no preset 'nothing'"),
        (("remove",), "the following arguments are required: NAME"),
        ((), "the following arguments are required: list|show|export|import|remove"),
    ],
)
def test_wrong_uses(capsys: Any, tmp_path: Path, argv: tuple[str, ...], message: str) -> None:
    store.save(preset("mine"))
    (tmp_path / "mine.json").write_text(as_text(preset("mine")))
    (tmp_path / "foreign.json").write_text('{"schema": 1, "name": "teacache-calibration"}')
    (tmp_path / "victim.png").write_bytes(b"\x89PNG")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "a.metadata.json").write_text('{"mflux_version": "0.24.0", "prompt": "x"}')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    out, err = run(capsys, *(word.replace("{tmp}", str(tmp_path)) for word in argv), code=2)
    assert out == ""
    assert message.replace("{tmp}", str(tmp_path)) in err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert len([line for line in err.splitlines() if "error" in line]) == 1
    assert store.load("mine") == preset("mine")  # nothing is lost, also where several were to be removed


def test_a_disk_that_is_full(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(preset("mine"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mflux_teacache.pieces.output_files.os.replace", full)
    _, err = run(capsys, "export", "mine", str(tmp_path / "x.json"), code=1)
    assert "FILE is" in err
    assert "No space left on device" in err
    (tmp_path / "new.json").write_text(as_text(preset("new")))
    _, err = run(capsys, "import", str(tmp_path / "new.json"), code=1)
    assert "The preset new could not be written" in err
    assert [entry.name for entry in store.stored()] == ["mine"]
