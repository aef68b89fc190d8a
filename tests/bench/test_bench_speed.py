"""The real command in a process of its own, and the runs in further ones."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, replace
from typing import Any

import PIL.Image
import pytest

from mflux_teacache.bench import results, turns
from mflux_teacache.bench.figures import speeds
from mflux_teacache.bench.runs import TimedRun
from mflux_teacache.bench.settings import SpeedSettings


def test_the_command(commands: Any) -> None:
    words = ["--pattern", "CSC", "--size", "32x32", "--repetitions", "1", "--warm-up", "0"]
    ran = commands.run("mflux-teacache", "bench", "speed", *words, "--json", "speed.json", "--png", "speed.png")
    assert ran.code == 0, ran.err
    rows = [line.split() for line in ran.out.splitlines()]
    assert [row[-1] for row in rows if row[1:2] == ["1"] or row[2:3] == ["1"]] == ["CCC", "CCC", "CSC"]
    assert ["skipping", "2/3"] in [row[:2] for row in rows]

    content = json.loads((commands.folder / "speed.json").read_text())
    assert content["schema"] == 1
    assert content["first_images"] == []  # none to warm up
    assert content["settings"]["pattern"] == "CSC"
    assert content["arguments"]["width"] == 32
    assert set(content["versions"]) == {"python", "mlx", "mflux", "mflux-teacache-plugin"}
    assert content["machine"]["default_device"]
    runs = [turns._from_json(run) for run in content["runs"]]
    assert [asdict(entry) for entry in speeds(runs)] == [
        {**entry, **{name: tuple(entry[name]) for name in ("ratios", "step_seconds", "notes")}}
        for entry in content["summary"]
    ]
    with PIL.Image.open(commands.folder / "speed.png") as picture:
        assert picture.width == 1600


SETTINGS = SpeedSettings(steps=2, pattern="CS", width=32, height=32, warm_up=1, repetitions=4)


@pytest.mark.slow
def test_a_run_in_a_process_of_its_own() -> None:
    load, run, [first] = turns._in_process(SETTINGS, "skipping", 3)
    assert (run.variant, run.repetition, run.pattern) == ("skipping", 3, "CS")
    assert (first.variant, first.repetition, first.pattern) == ("skipping", -1, "CS")
    assert load.seconds > 0


@pytest.mark.slow
def test_a_process_that_fails_ends_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        turns._in_process(SpeedSettings(model="someone/something", pattern="CS", steps=2), "plain", 0)
    assert left.value.code == 2
    assert "mflux-teacache bench speed: error: --model someone/something" in capfd.readouterr().err


def test_processes_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    import bench_runs

    from mflux_teacache.bench.variants import compared_by_speed

    def made(settings: SpeedSettings, variant: str, repetition: int) -> tuple[Any, TimedRun, list[TimedRun]]:
        run = bench_runs.run(variant, repetition, "CS", [1, 1])
        return bench_runs.phase(), run, [replace(run, repetition=-1)]

    monkeypatch.setattr(turns, "_in_process", made)
    reported: list[TimedRun] = []
    measured = turns.in_processes(compared_by_speed(SETTINGS), SETTINGS, reported.append)
    names = ["plain", "all computed", "skipping"]
    assert [(run.repetition, run.variant) for run in measured.runs] == [(n, name) for n in range(4) for name in names]
    assert tuple(reported) == measured.runs
    assert len(measured.loads) == 12
    assert [first.variant for first in measured.first_images] == names * 4


def test_processes_that_are_interrupted_leave_whole_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    import bench_runs

    from mflux_teacache.bench.variants import compared_by_speed

    def made(settings: SpeedSettings, variant: str, repetition: int) -> tuple[Any, TimedRun, list[TimedRun]]:
        if (repetition, variant) == (1, "skipping"):
            raise KeyboardInterrupt
        run = bench_runs.run(variant, repetition, "CS", [1, 1])
        return bench_runs.phase(), run, [run]

    monkeypatch.setattr(turns, "_in_process", made)
    measured = turns.in_processes(compared_by_speed(SETTINGS), SETTINGS, lambda _: None)
    assert measured.interrupted
    assert (len(measured.runs), len(measured.loads), len(measured.first_images)) == (3, 3, 3)


def test_a_package_without_metadata_has_no_version() -> None:
    assert results.version_of("no-such-distribution") == results.NOT_INSTALLED
    assert results.version_of("mflux")[0].isdigit()


def test_the_machine_is_described_and_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"device_name": "GPU", "total_memory": 8, "uuid": "GPU-1", "pci_bus_id": "0", "free_memory": 4}
    monkeypatch.setattr(results.mx, "device_info", lambda: told)
    described = results.machine()
    assert described["device"] == {"device_name": "GPU", "total_memory": 8}
    assert platform.node() not in json.dumps(described)
