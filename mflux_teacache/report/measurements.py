"""Sections of what ``bench quality`` and ``bench speed`` have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mflux_teacache.bench import figures, pictures, tables
from mflux_teacache.bench.figures import Quality
from mflux_teacache.bench.runs import PLAIN, TimedRun, by_letters
from mflux_teacache.errors import OptionError
from mflux_teacache.report import facts
from mflux_teacache.report.page import Details, Picture, Section, Table, chart
from mflux_teacache.report.reading import made_all

_MANY = 16  # rows of a table, beyond which only the best are shown at once

_CHART = "Closeness to the full run over speed-up: higher and further to the right is better."


def of_quality(content: Mapping[str, Any], where: str) -> Section:
    """Which settings came how close to full runs, beside the same sampler with fewer steps.

    Raises:
        OptionError: it is not such a result.
    """
    compared = made_all(Quality, content["summary"], f"{where}: summary")
    fewer = content.get("fewer_steps")
    rows = fewer.get("summary", []) if isinstance(fewer, dict) else []
    baseline = made_all(Quality, rows, f"{where}: fewer_steps.summary")
    if not compared:
        raise OptionError(f"{where} has no setting that was measured whole. Let its command go on to the end.")
    qualities = [*baseline, *compared]
    _check_counts(qualities, where)
    best = figures.pareto(qualities)
    shown = (
        qualities if len(qualities) <= _MANY else [entry for entry in qualities if entry in best or entry.is_baseline]
    )
    return Section(
        title=f"Quality: {content.get('model', 'a model')}",
        summary=_best(qualities),
        charts=[chart_of(qualities)],
        table=_table(shown, best),
        whole=_table(qualities, best) if len(shown) < len(qualities) else None,
        notes=_notes(qualities, interrupted=content.get("interrupted") is True),
        facts=[*facts.of_bench(content), *facts.named("prompts", _count(content, "prompts"))],
        details=_cases(content),
    )


def _check_counts(qualities: Sequence[Quality], where: str) -> None:
    for entry in qualities:
        if not (entry.steps > 0 and entry.images > 0 and entry.computed > 0 and entry.forecast in range(3)):
            raise OptionError(
                f"{where} has {entry.setting!r} with {entry.computed:g} of {entry.steps} steps, {entry.images} images "
                f"and forecast {entry.forecast}; the first three must be above 0, and the last 0, 1 or 2. Make the "
                f"file anew."
            )


def chart_of(qualities: Sequence[Quality]) -> Picture:
    """PSNR over speed-up, with what no other beats."""
    return chart(partial(pictures.of_quality, "", qualities), _best(qualities), _CHART)


def _table(qualities: Sequence[Quality], best: Sequence[Quality]) -> Table:
    """A row for each setting; those that no other beats stand out."""
    marked = frozenset(place for place, entry in enumerate(qualities) if entry in best)
    return Table(tables.QUALITY_HEADING, list(map(tables.quality_cells, qualities)), 1, marked)


def _best(qualities: Sequence[Quality]) -> str:
    """The setting that comes closest at a speed-up of 2 or more, else the fastest."""
    settings = [entry for entry in qualities if not entry.is_baseline]
    fast = [entry for entry in settings if entry.speed_up >= figures.SPEED_UP]
    entry = max(fast, key=lambda entry: entry.height) if fast else max(settings, key=lambda entry: entry.speed_up)
    close = (
        "equal to the full run" if entry.psnr is None else f"{entry.psnr:.1f} dB and SSIM {entry.ssim:.3f} on average"
    )
    which = f"Closest of those that are at least {figures.SPEED_UP:g}x as fast" if fast else "The fastest"
    return f"{which}: {entry.setting}, {entry.speed_up:.2f}x, {close}."


def _notes(qualities: Sequence[Quality], *, interrupted: bool) -> list[str]:
    left = ["The measurement was interrupted: these are the settings that were drawn whole."] if interrupted else []
    if any(entry.is_baseline for entry in qualities):
        left += tables.verdict(qualities)
    else:
        left.append("The file has no fewer steps to compare with: it is of an earlier version, or was interrupted.")
    left += tables.told({entry.setting: entry.told for entry in qualities})
    return [*left, "Settings that stand out: no other is both faster and closer to the full run in mean PSNR."]


def _count(content: Mapping[str, Any], name: str) -> str:
    prompts, seeds = content.get(name), content.get("seeds")
    return (
        f"{len(prompts)}, with {len(seeds)} seeds each" if isinstance(prompts, list) and isinstance(seeds, list) else ""
    )


def _cases(content: Mapping[str, Any]) -> list[Details]:
    prompts = content.get("prompts")
    lines = "\n".join(map(str, prompts)) if isinstance(prompts, list) else ""
    return [Details("What the columns mean", tables.OF_QUALITY), *([Details("Prompts", lines)] if lines else [])]


def of_speed(content: Mapping[str, Any], where: str) -> Section:
    """How long the denoising loop took, beside plain mflux.

    Raises:
        OptionError: it is not such a result.
    """
    runs = made_all(TimedRun, list(map(_with_computed, content["runs"])), f"{where}: runs")
    _check_runs(runs, where)
    speeds = figures.speeds(runs)
    plain, *others = speeds
    fastest = min(others, key=lambda entry: entry.ratio.median)
    ratio, floor = fastest.ratio.median, fastest.floor
    said = f"{fastest.variant} took {ratio:.3f} of plain mflux's time; {floor:.3f} if skipped steps took none."
    return Section(
        title=f"Speed: {content.get('model', 'a model')}",
        summary=said,
        charts=[chart(partial(pictures.of_speed, "", speeds), said, "Milliseconds of each step, and the ratios.")],
        table=Table(tables.SPEED_HEADING, list(map(tables.speed_cells, speeds))),
        notes=[
            f"{plain.variant} is mflux without a plugin, timed in the same {len(plain.ratios)} repetitions.",
            *tables.told({entry.variant: entry.told for entry in speeds}),
        ],
        facts=facts.of_bench(content),
        details=[Details("What the rows and columns mean", tables.legend(speeds))],
    )


def _with_computed(run: Any) -> Any:
    """A run of an earlier version does not say how much it computed, but every step did it whole or not at all."""
    pattern = run.get("pattern") if isinstance(run, dict) else None
    return {"computed": by_letters(pattern).computed, **run} if isinstance(pattern, str) else run


def _check_runs(runs: Sequence[TimedRun], where: str) -> None:
    plain = {run.repetition for run in runs if run.variant == PLAIN}
    steps = {len(run.pattern) for run in runs} | {len(run.step_seconds) for run in runs}
    others = [run for run in runs if run.variant != PLAIN]
    letters = {letter for run in runs for letter in run.pattern}
    goes_together = len(steps) == 1 and 0 not in steps and {run.repetition for run in others} <= plain
    timed = all(run.loop.seconds > 0 and run.computed > 0 for run in runs) and letters <= set("CSP")
    if not (others and runs[0].variant == PLAIN and goes_together and timed):
        raise OptionError(
            f"{where} has runs that do not go together: each repetition must have one of {PLAIN!r}, which comes first, "
            f"and all must have the same steps and take some time. Make the file anew with bench speed."
        )
