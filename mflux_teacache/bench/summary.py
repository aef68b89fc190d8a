"""Figures made of runs. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mflux_teacache.bench import patterns
from mflux_teacache.bench.runs import Run

# Names of variants, beside those of plugins and other packages.
PLAIN = "plain"
COMPUTED = "all computed"
SKIPPING = "skipping"
COMPILED = ", blocks compiled"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of some numbers."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """``None`` of no numbers."""
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1]) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All runs of one variant.

    Attributes:
        pattern: of its first run; ``None`` entries below are those that the pattern has no steps for.
        encode, loop, decode: seconds.
        ratios: loop seconds over those of the plain run of the same repetition.
        ratio: of ``ratios``.
        floor: computed steps over all steps: what the ratio would be if skipped steps took no time.
        reached: the speed-up over the floor's, ``floor / ratio``: 1 = skipped steps take no time, and computed ones as
            long as those of plain; more = computed steps are shorter.
        saved: the time that was saved over what could be, ``(1 - ratio) / (1 - floor)``; ``None`` where nothing is
            skipped.
        first_step: seconds; apart, since in it mflux's compiled function is traced.
        computed_step, skipped_step: seconds of the other steps.
        step_seconds: median of each step.
        peak_bytes, active_bytes: of each phase, the largest.
        finite: no run ended in NaN or infinity.
        notes: of its runs, each once: why nothing was skipped.
    """

    variant: str
    pattern: str
    encode: Spread
    loop: Spread
    decode: Spread
    ratios: tuple[float, ...]
    ratio: Spread
    floor: float
    reached: float
    saved: float | None
    first_step: Spread
    computed_step: Spread | None
    skipped_step: Spread | None
    step_seconds: tuple[float, ...]
    peak_bytes: dict[str, int]
    active_bytes: dict[str, int]
    finite: bool
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(runs: Sequence[Run]) -> list[Summary]:
    """One for each variant, in the order of their first runs; every repetition has a plain run."""
    plain = {run.repetition: run.loop.seconds for run in runs if run.variant == PLAIN}
    return [
        _summary([run for run in runs if run.variant == variant], plain)
        for variant in dict.fromkeys(run.variant for run in runs)
    ]


def reached(ratio: float, floor: float) -> float:
    """Speed-up ``1 / ratio`` as a share of the floor's ``1 / floor``."""
    return floor / ratio


def saved(ratio: float, floor: float) -> float | None:
    """Time saved as a share of what could be saved; ``None`` where nothing could."""
    return (1 - ratio) / (1 - floor) if floor < 1 else None


def _summary(runs: Sequence[Run], plain: dict[int, float]) -> Summary:
    first = runs[0]
    ratios = tuple(run.loop.seconds / plain[run.repetition] for run in runs)
    ratio, floor = _spread(ratios), patterns.floor(first.pattern)
    return Summary(
        variant=first.variant,
        pattern=first.pattern,
        encode=_spread(run.encode.seconds for run in runs),
        loop=_spread(run.loop.seconds for run in runs),
        decode=_spread(run.decode.seconds for run in runs),
        ratios=ratios,
        ratio=ratio,
        floor=floor,
        reached=reached(ratio.median, floor),
        saved=saved(ratio.median, floor),
        first_step=_spread(run.step_seconds[0] for run in runs),
        computed_step=Spread.of(_steps(runs, "C")),
        skipped_step=Spread.of(_steps(runs, "S")),
        step_seconds=tuple(map(statistics.median, zip(*(run.step_seconds for run in runs), strict=True))),
        peak_bytes=_largest(runs, "peak_bytes"),
        active_bytes=_largest(runs, "active_bytes"),
        finite=all(run.finite for run in runs),
        notes=tuple(dict.fromkeys(run.note for run in runs if run.note)),
    )


def _spread(values: Iterable[float]) -> Spread:
    spread = Spread.of(values)
    assert spread is not None, "there is a run"
    return spread


def _steps(runs: Sequence[Run], letter: str) -> list[float]:
    return [
        seconds
        for run in runs
        for done, seconds in list(zip(run.pattern, run.step_seconds, strict=True))[1:]
        if done == letter
    ]


def _largest(runs: Sequence[Run], attribute: str) -> dict[str, int]:
    return {
        phase: max(getattr(getattr(run, phase), attribute) for run in runs) for phase in ("encode", "loop", "decode")
    }
