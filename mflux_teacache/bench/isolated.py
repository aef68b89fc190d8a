"""Every run in a fresh process, which loads the model, warms up and makes one measured image.

``python -m mflux_teacache.bench.isolated`` is such a process: JSON on stdin, JSON on the last line of stdout.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from tqdm import tqdm

from mflux_teacache.bench import measure
from mflux_teacache.bench.measure import Measured, Report
from mflux_teacache.bench.runs import Phase, Run
from mflux_teacache.bench.settings import Settings
from mflux_teacache.bench.subjects import subject_of
from mflux_teacache.bench.variants import Variant, variants_of
from mflux_teacache.messages import interruptible, reported

PROGRAM = "mflux-teacache bench speed"


def in_processes(variants: Sequence[Variant], settings: Settings, report: Report) -> Measured:
    """As ``measure.interleaved``: A B A B, but each run in a process of its own.

    Raises:
        SystemExit: with the exit code of a process that failed; it said why on stderr.
    """
    loads: list[Phase] = []
    first_images: list[Run] = []
    turns = [(repetition, variant.name) for repetition in range(settings.repetitions) for variant in variants]

    def made() -> Iterator[Run]:
        for repetition, name in tqdm(turns, desc="all runs", unit="process", leave=False):
            load, run, first = _in_process(settings, name, repetition)
            loads.append(load)
            first_images.extend(first)
            yield run

    runs, interrupted = measure.collected(made(), len(variants), report)
    return Measured(tuple(loads[: len(runs)]), runs, interrupted, tuple(first_images[: len(runs)]))


def _in_process(settings: Settings, variant: str, repetition: int) -> tuple[Phase, Run, list[Run]]:
    task = json.dumps({"settings": settings.as_json(), "variant": variant})
    done = subprocess.run(
        [sys.executable, "-m", "mflux_teacache.bench.isolated"], input=task, stdout=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        raise SystemExit(done.returncode)
    answer = json.loads(done.stdout.splitlines()[-1])
    first = [Run.from_json(run) for run in answer["first_images"]]
    return Phase(**answer["load"]), replace(Run.from_json(answer["run"]), repetition=repetition), first


def _child(task: dict[str, Any]) -> dict[str, Any]:
    settings = replace(Settings(**task["settings"]), repetitions=1)
    [variant] = (variant for variant in variants_of(settings) if variant.name == task["variant"])
    measured = measure.interleaved(subject_of(settings), [variant], settings, lambda _: None)
    [load], [run] = measured.loads, measured.runs
    return {
        "load": asdict(load),
        "run": run.as_json(),
        "first_images": [first.as_json() for first in measured.first_images],
    }


def main() -> None:
    task = json.load(sys.stdin)
    with interruptible(PROGRAM), reported(PROGRAM), contextlib.redirect_stdout(sys.stderr):
        answer = _child(task)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
