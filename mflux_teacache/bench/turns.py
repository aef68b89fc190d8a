"""Runs the variants of one model in turn, A B A B: in this process, or each run in a fresh one.

``python -m mflux_teacache.bench.turns`` is such a process: it loads the model, warms up and makes one measured image.
It reads JSON from stdin, and the last line of its stdout is JSON.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tqdm import tqdm

from mflux_teacache.bench import tables
from mflux_teacache.bench.runs import Phase, TimedRun, whole
from mflux_teacache.bench.settings import SpeedSettings
from mflux_teacache.bench.subjects import Subject, subject_of
from mflux_teacache.bench.timing import Stopwatch, timed
from mflux_teacache.bench.variants import Variant, compared_by_speed
from mflux_teacache.messages import interruptible, reported

PROGRAM = "mflux-teacache bench speed"

# Called with each run as it is done.
Report = Callable[[TimedRun], None]


@dataclass(frozen=True, slots=True)
class Timed:
    """Attributes:
    loads: of the model, once for each process.
    runs: in the order in which they were made, of whole repetitions.
    interrupted: there were to be more.
    first_images: those that each process began to warm up with, one of each of its variants; none without warm-up.
    """

    loads: tuple[Phase, ...]
    runs: tuple[TimedRun, ...]
    interrupted: bool = False
    first_images: tuple[TimedRun, ...] = ()


def measured(settings: SpeedSettings, subject: Subject) -> Timed:
    """Run everything, and print what will be done, and each run as it is done."""
    variants = compared_by_speed(settings)
    names = [variant.name for variant in variants]
    runs = settings.repetitions * len(variants)
    images = runs + settings.warm_up * (runs if settings.isolated else len(variants))
    print(
        f"{subject.title}\n{settings.repetitions} of each variant in turn"
        f"{', each in a process of its own' if settings.isolated else ''}, after {settings.warm_up} to warm up: "
        f"{images} images in all\n\n{tables.run_heading(names)}",
        flush=True,
    )

    def show(run: TimedRun) -> None:
        tqdm.write(tables.run_line(run, names))
        sys.stdout.flush()

    if settings.isolated:
        return in_processes(variants, settings, show)
    return interleaved(subject, variants, settings, show)


def interleaved(subject: Subject, variants: Sequence[Variant], settings: SpeedSettings, report: Report) -> Timed:
    """Load the model once and run every variant in each repetition, after the warm-up."""
    watch = Stopwatch()
    with subject.load() as model:
        load = watch.lap()
        before = list(variants) * settings.warm_up
        warm_ups = [
            timed(model, variant, subject.arguments, -1, f"warm-up, {variant.name}")
            for variant in tqdm(before, desc="warm-up", unit="image", leave=False, disable=not before)
        ]

        def run(variant: Variant, repetition: int) -> TimedRun:
            label = f"{variant.name} {repetition + 1}/{settings.repetitions}"
            return timed(model, variant, subject.arguments, repetition, label)

        runs, interrupted = whole(_repetitions(run, variants, settings.repetitions, "image", report))
    return Timed((load,), runs, interrupted, tuple(warm_ups[: len(variants)]))


def in_processes(variants: Sequence[Variant], settings: SpeedSettings, report: Report) -> Timed:
    """As ``interleaved``, but each run in a process of its own.

    Raises:
        SystemExit: with the exit code of a process that failed; it said why on stderr.
    """
    loads: list[Phase] = []
    first_images: list[TimedRun] = []

    def run(variant: Variant, repetition: int) -> TimedRun:
        load, made, first = _in_process(settings, variant.name, repetition)
        loads.append(load)
        first_images.extend(first)
        return made

    runs, interrupted = whole(_repetitions(run, variants, settings.repetitions, "process", report))
    return Timed(tuple(loads[: len(runs)]), runs, interrupted, tuple(first_images[: len(runs)]))


def _repetitions(
    run: Callable[[Variant, int], TimedRun], variants: Sequence[Variant], count: int, unit: str, report: Report
) -> Iterator[list[TimedRun]]:
    """The runs of each repetition, reported as they are made."""
    with tqdm(total=count * len(variants), desc="all runs", unit=unit, leave=False) as bar:
        for repetition in range(count):
            made = []
            for variant in variants:
                made.append(run(variant, repetition))
                bar.update()
                report(made[-1])
            yield made


def _in_process(settings: SpeedSettings, variant: str, repetition: int) -> tuple[Phase, TimedRun, list[TimedRun]]:
    done = subprocess.run(
        [sys.executable, "-m", "mflux_teacache.bench.turns"],
        input=json.dumps({"settings": asdict(settings), "variant": variant}),
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(done.returncode)
    answer = json.loads(done.stdout.splitlines()[-1])
    [run], first = ([_from_json(each) for each in answer[part]] for part in ("runs", "first_images"))
    return Phase(**answer["loads"][0]), replace(run, repetition=repetition), first


def _from_json(content: Mapping[str, Any]) -> TimedRun:
    phases = {name: Phase(**content[name]) for name in ("encode", "loop", "decode")}
    return TimedRun(**{**content, **phases, "step_seconds": tuple(content["step_seconds"])})


def main() -> None:
    task = json.load(sys.stdin)
    with interruptible(PROGRAM), reported(PROGRAM), contextlib.redirect_stdout(sys.stderr):
        settings = replace(SpeedSettings(**task["settings"]), repetitions=1)
        variants = [variant for variant in compared_by_speed(settings) if variant.name == task["variant"]]
        done = interleaved(subject_of(settings), variants, settings, lambda _: None)
    print(json.dumps(asdict(done)))


if __name__ == "__main__":
    main()
