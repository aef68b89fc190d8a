"""The table of ``bench quality``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mflux_teacache.bench import tables
from mflux_teacache.bench.quality.runs import Refusal
from mflux_teacache.bench.quality.summary import Summary, pareto

LEGEND = """\
computed  steps, mean over images; speed-up is all steps over it: the gain if skipped steps took no time
equal     images that are equal to the full run of their prompt and seed
PSNR      of the other images against their full runs, in dB: mean and worst image
SSIM      structural similarity of all images, likewise; 1 = equal
*         no other setting is both faster and closer to the full run in mean PSNR"""


def table(summaries: Sequence[Summary]) -> str:
    """A line for each setting; below it what the columns mean."""
    best = pareto(summaries)
    heading = ("", "setting", "computed", "speed-up", "equal", "PSNR", "worst", "SSIM", "worst")
    rows = [
        (
            "*" if entry in best else "",
            entry.setting,
            f"{entry.computed:.1f}/{entry.steps}",
            f"{entry.speed_up:.2f}x",
            f"{entry.equal}/{entry.images}",
            _spell(entry.psnr),
            _spell(entry.worst_psnr),
            f"{entry.ssim:.4f}",
            f"{entry.worst_ssim:.4f}",
        )
        for entry in summaries
    ]
    return "\n".join([*tables.table(heading, rows, left=2), "", LEGEND])


def refused(refusals: Sequence[Refusal]) -> str:
    return "\n".join(f"refused: {refusal.setting}: {refusal.reason}" for refusal in refusals)


def skipped_nothing(idle: Mapping[str, str]) -> str:
    """Args:
    idle: the reason for each setting.
    """
    return "\n".join(f"no image skipped anything: {setting}: {reason}" for setting, reason in idle.items())


def _spell(decibels: float | None) -> str:
    return "-" if decibels is None else f"{decibels:.1f}"
