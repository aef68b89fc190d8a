"""The line after each image: what was computed and skipped, and if nothing was, why and what to try."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mflux_teacache.records import GenerationStats, StepRecord


def summary(
    stats: GenerationStats,
    plugins: Sequence[str],
    decider: str | None,
    threshold_option: str | None,
    budget: str | None = None,
) -> str:
    """Args:
    plugins: names of all of the run's plugins; none, if its blocks are compiled and no more.
    decider: the one that decides; ``None`` if all of them only observe.
    threshold_option: its option for the threshold, if it has one.
    budget: its option in place of a threshold, with its value, where that was given.
    """
    records = stats.decisions
    skipped = stats.skipped_count
    name = decider or ", ".join(plugins)
    counts = f"{name}: computed {len(records) - skipped} of {len(records)} steps"
    seconds = f"{stats.seconds:.1f} s of denoising"
    if not plugins:
        return f"compiled blocks: {len(records)} steps ({seconds})"
    if skipped:
        details = ", ".join(filter(None, (budget or _threshold(records), seconds)))
        return f"{counts}, skipped {skipped} ({details})"
    return f"{counts}, skipped none ({seconds}): {_why_nothing(records, decider, plugins, threshold_option)}"


def _why_nothing(
    records: Sequence[StepRecord], decider: str | None, plugins: Sequence[str], threshold_option: str | None
) -> str:
    if decider is None:
        return "the plugin only observes" if len(plugins) == 1 else "the plugins only observe"
    if not records:
        return "no step called the transformer"
    if over := list(_over_threshold(records)):
        score, threshold = min(over)
        attempt = f"{threshold_option} {next_threshold(score):g}" if threshold_option and score > 0 else "a higher one"
        return f"smallest predicted change {score:.3g}, threshold {threshold:g}; try {attempt} or more steps"
    if all(record.decision == "forced" for record in records):
        reasons = ", ".join(dict.fromkeys(record.reason for record in records if record.reason))
        return f"a rule computed every step{f' ({reasons})' if reasons else ''}; run more steps, or relax the rule"
    return "the plugin asked for none"


def _over_threshold(records: Sequence[StepRecord]) -> Iterator[tuple[float, float]]:
    """Score and threshold of the steps that were computed because of them, and not by a rule."""
    for record in records:
        score, threshold = record.score, record.threshold
        if (
            record.decision == "computed"
            and score is not None
            and threshold is not None
            and threshold <= score < math.inf
        ):
            yield score, threshold


def _threshold(records: Sequence[StepRecord]) -> str | None:
    return next((f"threshold {r.threshold:g}" for r in reversed(records) if r.threshold is not None), None)


def next_threshold(score: float) -> float:
    """A round number that ``score`` stays under: 0.26 -> 0.3, 0.012 -> 0.015, 0.3 -> 0.35."""
    unit = 10.0 ** math.floor(math.log10(score)) / 2
    return (math.floor(score / unit + 1e-9) + 1) * unit
