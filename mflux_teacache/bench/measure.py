"""Runs the variants of one model in turn: A B A B, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from mflux_teacache.bench.clock import PhaseClock, Stopwatch
from mflux_teacache.bench.runs import Phase, Run
from mflux_teacache.bench.settings import Settings
from mflux_teacache.bench.subjects import Subject
from mflux_teacache.bench.variants import Variant
from mflux_teacache.demo.clock import listening
from mflux_teacache.errors import is_interruption

# Called with each run as it is done.
Report = Callable[[Run], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Attributes:
    loads: of the model, once for each process.
    runs: in the order in which they were made, of whole repetitions.
    interrupted: there were to be more.
    first_images: those that each process began to warm up with, one of each of its variants; none without warm-up.
    """

    loads: tuple[Phase, ...]
    runs: tuple[Run, ...]
    interrupted: bool = False
    first_images: tuple[Run, ...] = ()


def interleaved(subject: Subject, variants: Sequence[Variant], settings: Settings, report: Report) -> Measured:
    """Load the model once and run every variant in each repetition, after the warm-up."""
    watch = Stopwatch()
    with subject.load() as model:
        load = watch.lap()
        warm_ups = [
            run_once(model, variant, subject.arguments, -1, f"warm-up, {variant.name}")
            for variant in _with_bar(variants, "warm-up", settings.warm_up)
        ]

        def made() -> Iterator[Run]:
            for place, variant in enumerate(_with_bar(variants, "all runs", settings.repetitions)):
                repetition = place // len(variants)
                label = f"{variant.name} {repetition + 1}/{settings.repetitions}"
                yield run_once(model, variant, subject.arguments, repetition, label)

        runs, interrupted = collected(made(), len(variants), report)
    return Measured((load,), runs, interrupted, tuple(warm_ups[: len(variants)]))


def collected(made: Iterable[Run], variants: int, report: Report) -> tuple[tuple[Run, ...], bool]:
    """Runs, each reported as it is made; and whether Ctrl-C ended them after at least one whole repetition.

    Raises:
        KeyboardInterrupt: there is no whole one; or what mflux makes of it.
    """
    runs: list[Run] = []
    try:
        for run in made:
            runs.append(run)
            report(run)
    except BaseException as error:
        if not is_interruption(error) or len(runs) < variants:
            raise
        return tuple(runs[: len(runs) - len(runs) % variants]), True
    return tuple(runs), False


def run_once(model: Any, variant: Variant, arguments: dict[str, Any], repetition: int, label: str) -> Run:
    """One image."""
    with variant.attach(model) as last_image:
        clock = PhaseClock(label)
        with listening(model, clock):
            model.generate_image(**arguments)
        decode = clock.decoded()
        assert clock.encode is not None
        assert clock.loop is not None, "mflux called the callback"
        done = last_image()
        return Run(
            variant=variant.name,
            repetition=repetition,
            pattern=done.pattern,
            encode=clock.encode,
            loop=clock.loop,
            decode=decode,
            step_seconds=tuple(clock.step_seconds),
            finite=clock.finite,
            note=done.note,
        )


def _with_bar(variants: Sequence[Variant], label: str, rounds: int) -> Iterable[Variant]:
    everything = [variant for _ in range(rounds) for variant in variants]
    return tqdm(everything, desc=label, unit="image", leave=False) if everything else ()
