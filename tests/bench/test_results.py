"""What is written of a measurement: whatever becomes of one file, the others are there."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from mflux_teacache.bench import results
from mflux_teacache.bench.results import Result
from mflux_teacache.errors import NotWritten


def test_a_package_without_metadata_has_no_version() -> None:
    assert results.version_of("no-such-distribution") == results.NOT_INSTALLED
    assert results.version_of("mflux")[0].isdigit()


def test_the_machine_is_described_and_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"device_name": "GPU", "total_memory": 8, "uuid": "GPU-1", "pci_bus_id": "0", "free_memory": 4}
    monkeypatch.setattr(results.mx, "device_info", lambda: told)
    described = results.machine()
    assert described["device"] == {"device_name": "GPU", "total_memory": 8}
    assert platform.node() not in json.dumps(described)


def result(*, value: float = 1.0, draw: Any = lambda title: Figure(), interrupted: str | None = None) -> Result:
    return Result(
        title="a model",
        table="the table",
        content={"value": value},
        pictures={"--png": draw},
        interrupted=interrupted,
    )


def outputs(folder: Path) -> dict[str, Path]:
    return {"--json": folder / "a.json", "--png": folder / "a.png"}


def test_everything_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    titles: list[str] = []
    drawing = lambda title: titles.append(title) or Figure()  # noqa: E731
    assert result(draw=drawing).tell(outputs(tmp_path)) == 0
    assert capsys.readouterr().out == "\nthe table\n"
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["schema"], content["interrupted"], content["value"]) == (1, False, 1.0)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert result(draw=drawing, interrupted="two of them").tell(outputs(tmp_path)) == 130
    assert capsys.readouterr().out == "\ninterrupted: two of them\n\nthe table\n"
    assert titles == ["a model", "a model (interrupted)"]


@pytest.mark.parametrize("lost", ["a.json", "a.png"])
def test_a_file_that_cannot_be_written_costs_no_other(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if target.name == lost:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(NotWritten, match=f"{lost}, which could not be written: No space left"):
        result().tell(outputs(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [{"a.json": "a.png", "a.png": "a.json"}[lost]]


def test_all_files_that_could_not_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match=r"--json is .*could not be written.*--png is .*could not be written"):
        result().tell(outputs(tmp_path / "no-folder"))


def test_what_cannot_be_drawn_or_spelt_costs_no_other_file(tmp_path: Path) -> None:
    def fail(title: str) -> Figure:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        result(draw=fail).tell(outputs(tmp_path))
    assert (tmp_path / "a.json").exists()
    (tmp_path / "a.json").unlink()
    with pytest.raises(ValueError, match="not JSON compliant"):
        result(value=float("nan")).tell(outputs(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_closed_standard_output_costs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(BrokenPipeError):
        result().tell(outputs(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "a.png"}
