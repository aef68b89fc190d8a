"""Variants take turns: in this process, and each run in one of its own."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace
from typing import Any

import bench_runs
import pytest
from bench_runs import ARGUMENTS, parsed
from mflux.utils.exceptions import StopImageGenerationException

from mflux_teacache.bench import speed, turns
from mflux_teacache.bench.runs import TimedRun, whole
from mflux_teacache.bench.settings import SpeedSettings
from mflux_teacache.bench.variants import Variant, compared_by_speed

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
    def made(settings: SpeedSettings, variant: str, repetition: int) -> tuple[Any, TimedRun, list[TimedRun]]:
        if (repetition, variant) == (1, "skipping"):
            raise KeyboardInterrupt
        run = bench_runs.run(variant, repetition, "CS", [1, 1])
        return bench_runs.phase(), run, [run]

    monkeypatch.setattr(turns, "_in_process", made)
    measured = turns.in_processes(compared_by_speed(SETTINGS), SETTINGS, lambda _: None)
    assert measured.interrupted
    assert (len(measured.runs), len(measured.loads), len(measured.first_images)) == (3, 3, 3)


def test_variants_take_turns_after_the_warm_up(model: Any) -> None:
    attached: list[str] = []

    def noting(variant: Variant) -> Variant:
        def attach(model: Any) -> Any:
            attached.append(variant.name)
            return variant.attach(model)

        return Variant(variant.name, attach)

    settings = SpeedSettings(steps=2, pattern="CS", repetitions=2, warm_up=2)
    made = [noting(variant) for variant in compared_by_speed(settings)]
    names = [variant.name for variant in made]
    reported = []
    measured = turns.interleaved(subject(model), made, settings, reported.append)
    assert attached == names * (2 + 2)
    assert [(run.repetition, run.variant) for run in measured.runs] == [(n, name) for n in range(2) for name in names]
    assert tuple(reported) == measured.runs
    assert len(measured.loads) == 1
    assert [run.variant for run in measured.first_images] == names
    assert turns.interleaved(subject(model), made[:1], replace(settings, warm_up=0), print).first_images == ()


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopImageGenerationException])
def test_ctrl_c_keeps_the_whole_repetitions(error: type[BaseException]) -> None:
    names = ("plain", "all computed", "skipping")

    def runs(images: int) -> tuple[list[Any], bool]:
        made: list[Any] = []
        reported: list[Any] = []

        def run(variant: Any, repetition: int) -> Any:
            if len(made) == images:
                raise error
            made.append((repetition, variant))
            return made[-1]

        done = whole(turns._repetitions(run, names, 3, "image", reported.append))  # type: ignore[arg-type]
        assert reported == made
        return done

    turn = [(repetition, name) for repetition in range(3) for name in names]
    assert runs(8) == (tuple(turn[:6]), True)
    assert runs(9) == (tuple(turn), False)
    with pytest.raises(error):
        runs(2)


def subject(model: Any) -> Any:
    from mflux_teacache.bench.subjects import Subject

    return Subject(
        name="tiny",
        pipeline=type(model),
        config=model.model_config,
        load=lambda: contextlib.nullcontext(model),
        arguments={**ARGUMENTS, "num_inference_steps": 2},
    )


def test_runs_go_through_json() -> None:
    for run in bench_runs.some():
        assert turns._from_json(json.loads(json.dumps(asdict(run)))) == run


def settings(*words: str) -> SpeedSettings:
    return speed.settings_of(parsed(*words))


@pytest.mark.parametrize(("words", "place", "images"), [([], "interleaved", 21), (["--isolated"], "in_processes", 45)])
def test_where_it_is_measured(
    words: list[str], place: str, images: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each process warms up for itself."""
    from mflux_teacache.bench.subjects import subject_of

    monkeypatch.setattr(turns, "interleaved", lambda *_: "interleaved")
    monkeypatch.setattr(turns, "in_processes", lambda *_: "in_processes")
    made = settings(*words, "--warm-up", "2")
    assert turns.measured(made, subject_of(made)) == place
    assert f" {images} images in all\n" in capsys.readouterr().out
