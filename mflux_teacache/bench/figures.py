"""Figures made of runs. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from mflux_teacache.bench.runs import FEWER_STEPS, PLAIN, JudgedRun, Row, TimedRun
from mflux_teacache.image_quality import psnr

ROWS = 24  # of the contact sheet
SPEED_UP = 2.0  # where there are more settings than rows, those next to this gain stand for their series

_PHASES = ("encode", "loop", "decode")


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of some numbers."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """All runs of one variant.

    Attributes:
        pattern, computed: of its first run.
        encode, loop, decode: seconds.
        ratios: loop seconds over those of the plain run of the same repetition.
        ratio: of ``ratios``.
        floor: computed steps over all steps: what the ratio would be if skipped steps took no time.
        reached: the speed-up over the floor's, ``floor / ratio``: 1 = skipped steps take no time, and computed ones as
            long as those of plain; more = computed steps are shorter.
        saved: the time that was saved over what could be, ``(1 - ratio) / (1 - floor)``; ``None`` where nothing is
            skipped.
        first_step: seconds; apart, since in it mflux's compiled function is traced.
        computed_step, partial_step, skipped_step: seconds of the other steps, by what was done in them; ``None`` where
            the pattern has none.
        step_seconds: median of each step.
        peak_bytes, active_bytes: of each phase, the largest.
        finite: no run ended in NaN or infinity.
        notes: of its runs, each once: why nothing was skipped.
        told: likewise: what a plugin that chooses its setting has chosen.
    """

    variant: str
    pattern: str
    computed: float
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
    partial_step: Spread | None
    skipped_step: Spread | None
    step_seconds: tuple[float, ...]
    peak_bytes: dict[str, int]
    active_bytes: dict[str, int]
    finite: bool
    notes: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def speeds(runs: Sequence[TimedRun]) -> list[Speed]:
    """One for each variant, in the order of their first runs; every repetition has a plain run."""
    plain = {run.repetition: run.loop.seconds for run in runs if run.variant == PLAIN}
    variants = dict.fromkeys(run.variant for run in runs)
    return [_speed([run for run in runs if run.variant == variant], plain) for variant in variants]


def _speed(runs: Sequence[TimedRun], plain: dict[int, float]) -> Speed:
    first = runs[0]
    ratios = tuple(run.loop.seconds / plain[run.repetition] for run in runs)
    ratio = Spread.of(ratios)
    floor = first.computed / len(first.pattern)
    return Speed(
        variant=first.variant,
        pattern=first.pattern,
        computed=first.computed,
        **{phase: Spread.of(getattr(run, phase).seconds for run in runs) for phase in _PHASES},
        ratios=ratios,
        ratio=ratio,
        floor=floor,
        reached=floor / ratio.median,
        saved=(1 - ratio.median) / (1 - floor) if floor < 1 else None,
        first_step=Spread.of(run.step_seconds[0] for run in runs),
        computed_step=_step(runs, "C"),
        partial_step=_step(runs, "P"),
        skipped_step=_step(runs, "S"),
        step_seconds=tuple(map(statistics.median, zip(*(run.step_seconds for run in runs), strict=True))),
        peak_bytes={phase: max(getattr(run, phase).peak_bytes for run in runs) for phase in _PHASES},
        active_bytes={phase: max(getattr(run, phase).active_bytes for run in runs) for phase in _PHASES},
        finite=all(run.finite for run in runs),
        notes=tuple(dict.fromkeys(run.note for run in runs if run.note)),
        told=_told(runs),
    )


def _told(runs: Sequence[TimedRun | JudgedRun]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.told for run in runs if run.told))


def _step(runs: Sequence[TimedRun], letter: str) -> Spread | None:
    """Of the steps after the first that were done in this way."""
    steps = (step for run in runs for step in zip(run.pattern[1:], run.step_seconds[1:], strict=True))
    taken = [seconds for done, seconds in steps if done == letter]
    return Spread.of(taken) if taken else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A setting, or fewer steps, over all prompts and seeds.

    Attributes:
        setting: as on the command line.
        series, forecast, reuse: as in ``Setting``.
        images: how many.
        equal: how many of them are equal to the full run. PSNR, which is infinite for them, is over the others.
        computed: steps, mean over images.
        steps: of a full run.
        speed_up: steps over computed steps: what the denoising loop would gain if skipped steps took no time.
        psnr, worst_psnr: in dB, mean over images and lowest; ``None`` if all are equal.
        ssim, worst_ssim: the same of structural similarity.
        told: of its runs, each once: what a plugin that chooses its setting has chosen.
    """

    setting: str
    series: str
    forecast: int
    images: int
    equal: int
    computed: float
    steps: int
    psnr: float | None
    worst_psnr: float | None
    ssim: float
    worst_ssim: float
    speed_up: float
    reuse: str | None = None
    told: tuple[str, ...] = ()

    @property
    def is_baseline(self) -> bool:
        """It is one of fewer steps."""
        return self.series == FEWER_STEPS

    @property
    def height(self) -> float:
        """Mean PSNR; infinite if all images are equal."""
        return math.inf if self.psnr is None else self.psnr


def qualities(rows: Sequence[Row], runs: Sequence[JudgedRun]) -> list[Quality]:
    """One for each row that was run, in their order; fewer steps never stand alone."""
    steps = max((len(run.pattern) for run in runs), default=0)  # of a setting's runs, which have all of them
    runs_of = {row: [run for run in runs if run.setting == row] for row in map(str, rows)}
    return [_quality(row, runs_of[str(row)], steps) for row in rows if runs_of[str(row)]]


def _quality(row: Row, runs: Sequence[JudgedRun], steps: int) -> Quality:
    levels = [psnr(run.squared_error) for run in runs if run.squared_error]
    computed = fmean(run.computed for run in runs)
    return Quality(
        setting=str(row),
        series=row.series,
        forecast=row.forecast,
        reuse=row.reuse,
        images=len(runs),
        equal=len(runs) - len(levels),
        computed=computed,
        steps=steps,
        psnr=fmean(levels) if levels else None,
        worst_psnr=min(levels, default=None),
        ssim=fmean(run.ssim for run in runs),
        worst_ssim=min(run.ssim for run in runs),
        speed_up=steps / computed,
        told=_told(runs),
    )


def pareto(qualities: Sequence[Quality]) -> list[Quality]:
    """Those that no other beats in one of speed-up and mean PSNR without losing in the other, slowest first."""
    best: list[Quality] = []
    for entry in sorted(qualities, key=lambda entry: (-entry.speed_up, -entry.height)):
        if not best or entry.height > best[-1].height:
            best.append(entry)
    return best[::-1]


def chosen(qualities: Sequence[Quality]) -> list[Quality]:
    """Which rows the contact sheet shows: all, or one of each series, at most ``ROWS``."""
    if len(qualities) <= ROWS:
        return list(qualities)
    series = dict.fromkeys(entry.series for entry in qualities)
    nearest = (
        min((entry for entry in qualities if entry.series == name), key=lambda entry: abs(entry.speed_up - SPEED_UP))
        for name in series
    )
    return list(nearest)[:ROWS]
