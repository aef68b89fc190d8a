"""Runs the variants of one model in turn: A B A B, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from mflux_teacache.bench.clock import PhaseClock, Stopwatch
from mflux_teacache.bench.runs import Phase, Run
from mflux_teacache.bench.settings import Settings
from mflux_teacache.bench.subjects import Subject
from mflux_teacache.bench.variants import Variant
from mflux_teacache.demo.clock import listening

# Called with each run as it is done.
Report = Callable[[Run], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Attributes:
    loads: of the model, once for each process.
    runs: in the order in which they were made.
    """

    loads: tuple[Phase, ...]
    runs: tuple[Run, ...]


def interleaved(subject: Subject, variants: Sequence[Variant], settings: Settings, report: Report) -> Measured:
    """Load the model once and run every variant in each repetition, after the warm-up."""
    watch = Stopwatch()
    with subject.load() as model:
        load = watch.lap()
        for variant in _with_bar(variants, "warm-up", settings.warm_up):
            run_once(model, variant, subject.arguments, -1, f"warm-up, {variant.name}")
        runs = []
        for place, variant in enumerate(_with_bar(variants, "all runs", settings.repetitions)):
            repetition = place // len(variants)
            label = f"{variant.name} {repetition + 1}/{settings.repetitions}"
            runs.append(run_once(model, variant, subject.arguments, repetition, label))
            report(runs[-1])
    return Measured((load,), tuple(runs))


def run_once(model: Any, variant: Variant, arguments: dict[str, Any], repetition: int, label: str) -> Run:
    """One image."""
    with variant.attach(model) as last_pattern:
        clock = PhaseClock(label)
        with listening(model, clock):
            model.generate_image(**arguments)
        decode = clock.decoded()
        assert clock.encode is not None
        assert clock.loop is not None, "mflux called the callback"
        return Run(
            variant=variant.name,
            repetition=repetition,
            pattern=last_pattern(),
            encode=clock.encode,
            loop=clock.loop,
            decode=decode,
            step_seconds=tuple(clock.step_seconds),
            finite=clock.finite,
        )


def _with_bar(variants: Sequence[Variant], label: str, rounds: int) -> Iterable[Variant]:
    everything = [variant for _ in range(rounds) for variant in variants]
    return tqdm(everything, desc=label, unit="image", leave=False) if everything else ()
