"""Which settings of a budget are better, by the images that were drawn with them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from mflux_teacache.bench.runs import Case, JudgedRun
from mflux_teacache.image_quality import psnr
from mflux_teacache.tune.candidates import Candidate

# In place of the infinite PSNR of equal images: that of a thousandth of a level.
_HIGHEST = psnr(1e-6)


def best_first(candidates: Sequence[Candidate], runs: Sequence[JudgedRun]) -> list[Candidate]:
    """By rising budget, and of one budget the best first.

    An object that comes out otherwise in a single image moves its PSNR by many dB, and there are few images of each
    budget. So what counts is half how a setting does at its own budget, and half how its way does at all of them:
    each time in dB above the mean of all candidates in that image.

    Args:
        candidates: made in the same ways for each budget, but for equal ones.
        runs: of every candidate, on the same cases; there may be others.
    """
    levels = {(run.setting, run.case): min(_HIGHEST, psnr(run.squared_error)) for run in runs}
    above = {str(candidate.setting): _above(candidate, candidates, levels) for candidate in candidates}
    of_way: dict[str, list[float]] = {}
    for candidate in candidates:
        of_way.setdefault(candidate.way, []).append(above[str(candidate.setting)])

    def merit(candidate: Candidate) -> float:
        return above[str(candidate.setting)] + fmean(of_way[candidate.way])

    return sorted(candidates, key=lambda candidate: (candidate.budget, -merit(candidate)))


def _above(candidate: Candidate, candidates: Sequence[Candidate], levels: Mapping[tuple[str, Case], float]) -> float:
    """In dB above the mean of its budget's candidates, mean over cases."""
    beside = [str(each.setting) for each in candidates if each.budget == candidate.budget]
    cases = [case for setting, case in levels if setting == str(candidate.setting)]
    return fmean(
        levels[str(candidate.setting), case] - fmean(levels[setting, case] for setting in beside) for case in cases
    )
