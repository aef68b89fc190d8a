"""From runs to figures. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from mflux_teacache.bench.quality.runs import FORECASTS, Run, Setting

_PEAK = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A setting over all prompts and seeds.

    Attributes:
        setting: as on the command line.
        series: the settings that differ only in how much they skip share one: a line in the picture.
        forecast: as in ``Setting``.
        images: how many.
        equal: how many of them are equal to the full run. PSNR, which is infinite for them, is over the others.
        computed: steps, mean over images.
        steps: of a full run.
        psnr, worst_psnr: in dB, mean over images and lowest; ``None`` if all are equal.
        ssim, worst_ssim: the same of structural similarity.
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

    @property
    def speed_up(self) -> float:
        """Steps over computed steps: what the denoising loop would gain if skipped steps took no time."""
        return self.steps / self.computed

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "speed_up": self.speed_up}


def psnr(squared_error: float) -> float:
    """In dB; infinite for equal images."""
    return 10 * math.log10(_PEAK**2 / squared_error) if squared_error else math.inf


def series_of(setting: Setting) -> str:
    """Strategy and forecast: their other options say how much is skipped."""
    return f"{setting.plugin}, {FORECASTS[setting.forecast]}" if setting.forecast else setting.plugin


def summarise(settings: Sequence[Setting], runs: Sequence[Run]) -> list[Summary]:
    """One for each setting that was run, in their order."""
    runs_of = {str(setting): [run for run in runs if run.setting == str(setting)] for setting in settings}
    return [_summary(setting, own) for setting in settings if (own := runs_of[str(setting)])]


def _summary(setting: Setting, runs: Sequence[Run]) -> Summary:
    levels = [psnr(run.squared_error) for run in runs if run.squared_error]
    return Summary(
        setting=str(setting),
        series=series_of(setting),
        forecast=setting.forecast,
        images=len(runs),
        equal=len(runs) - len(levels),
        computed=fmean(run.computed for run in runs),
        steps=len(runs[0].pattern),
        psnr=fmean(levels) if levels else None,
        worst_psnr=min(levels, default=None),
        ssim=fmean(run.ssim for run in runs),
        worst_ssim=min(run.ssim for run in runs),
    )


def pareto(summaries: Sequence[Summary]) -> list[Summary]:
    """Those that no other beats in one of speed-up and mean PSNR without losing in the other, slowest first."""
    best: list[Summary] = []
    for entry in sorted(summaries, key=lambda entry: (-entry.speed_up, -_height(entry))):
        if not best or _height(entry) > _height(best[-1]):
            best.append(entry)
    return best[::-1]


def _height(entry: Summary) -> float:
    return math.inf if entry.psnr is None else entry.psnr
