"""The line after each image: what was computed and skipped, and if nothing was skipped, why and what to try.

mflux's commands print it, and ours do if nothing was skipped. At that point the image is finished but perhaps not
saved, and the numbers and reasons come from plugins, so the line must never fail. Its advice removes whatever prevented
every skip; if that is not known, the line gives no advice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

from mflux_teacache.options import from_keywords
from mflux_teacache.plugins import Loaded, PluginSet
from mflux_teacache.records import GenerationStats, StepRecord
from mflux_teacache.spelling import shortened, visible

LONGEST_REASON = 100
LONGEST_TOLD = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a run that the line mentions. Options are spelt as on a command line.

    Attributes:
        threshold_option: the deciding plugin's option for the threshold, if it has one.
        budget: its option in place of a threshold, with its value, if that was given.
        limits: its options for windows, if it has any.
        never: its option that forbids every skip, with its value, if that was given.
        source: the file whose decisions are repeated, if any are.
        told: what the plugin has chosen, in its own words.
        distilled: the model is distilled to a few steps.
    """

    threshold_option: str | None = None
    budget: str | None = None
    limits: Sequence[str] = ()
    never: str | None = None
    source: str | None = None
    told: str | None = None
    distilled: bool = False

    @classmethod
    def of(
        cls, plugins: PluginSet, options: Mapping[str, Any], values: Any = None, *, distilled: bool = False
    ) -> Settings:
        """The settings that the deciding plugin's record finds in its ``options``, and in what it wants recorded."""
        about = plugins.about
        spelt = {name: f"--{plugins.decider}-{name.replace('_', '-')}" for name in options}
        budgets = (f"{spelt[name]} {options[name]}" for name in about.budgets if options.get(name) is not None)
        return cls(
            threshold_option=spelt.get(about.threshold or ""),
            budget=next(budgets, None),
            limits=[spelt[name] for name in about.windows if name in spelt],
            never=f"{spelt[about.cap]} 0" if about.cap is not None and str(options.get(about.cap)) == "0" else None,
            source=None if about.source is None else str(options.get(about.source)),
            told=None if about.told is None or not isinstance(values, Mapping) else values.get(about.told),
            distilled=distilled,
        )


def why_idle(stats: GenerationStats, plugin: Loaded, keywords: Mapping[str, Any]) -> str | None:
    """The line after an image in which a plugin reused nothing; ``None`` if it reused something.

    Args:
        keywords: the plugin's options, as for ``attach``.
    """
    if stats.skipped_count or stats.partial_count:
        return None
    plugins = PluginSet([plugin])
    settings = Settings.of(plugins, vars(from_keywords(plugin, keywords)))
    return summary(stats, [plugin.name], plugins.decider, settings)


def told_by(plugin: Loaded, values: Any) -> str | None:
    """What a plugin says it has chosen for an image, as the line has it; ``None`` if it says nothing.

    Args:
        values: what it wants recorded with the image.
    """
    return _told(Settings.of(PluginSet([plugin]), {}, values))


def summary(stats: GenerationStats, plugins: Sequence[str], decider: str | None, settings: Settings) -> str:
    """The line after an image.

    Args:
        plugins: names of all of the run's plugins; empty if its blocks are compiled and nothing else.
        decider: the name of the one that decides; ``None`` if all of them only observe.
    """
    records = stats.decisions
    skipped, partly = stats.skipped_count, stats.partial_count
    name = visible(decider or ", ".join(plugins))
    counts = f"{name}: computed {len(records) - skipped - partly} of {len(records)} steps"
    seconds = f"{_number(stats.seconds) or 0.0:.1f} s of denoising"
    if not plugins:
        return f"compiled blocks: {len(records)} steps ({seconds})"
    if skipped or partly:
        repeated = f"{_reasons(records)} in {_text(settings.source)}" if settings.source else None
        told = _told(settings)
        details = ", ".join(filter(None, (repeated or settings.budget or _threshold(records), told, seconds)))
        also = f", partly reused {partly}" if partly else ""
        return f"{counts}, skipped {skipped}{also} ({details})"
    if decider is None:
        why = "the plugin only observes" if len(plugins) == 1 else "the plugins only observe"
    else:
        why = _why_nothing(records, settings)
    return f"{counts}, skipped none ({seconds}): {why}"


def _told(settings: Settings) -> str | None:
    return None if settings.told is None else _text(settings.told, LONGEST_TOLD)


def _why_nothing(records: Sequence[StepRecord], settings: Settings) -> str:
    if not records:
        return "no step called the transformer"
    nearest = min(_over_threshold(records), default=None)
    if nearest is None and not all(record.decision == "forced" for record in records):
        return "the plugin asked for none"
    if nearest is None:
        reasons = _reasons(records)
        why = f"a rule computed every step{f' ({reasons})' if reasons else ''}"
    else:
        what = "predicted change" if nearest.predicted else "change"
        why = f"smallest {what} {nearest.score:.3g}, threshold {nearest.threshold:g}"
    if settings.distilled:
        return f"{why}; the model is distilled to a few steps, which differ too much to be skipped"
    advice = _advice(records, nearest, settings)
    return f"{why}; {advice}" if advice else why


class _Over(NamedTuple):
    """A step that was computed because its score was not under the threshold, and not by a rule."""

    score: float
    threshold: float
    predicted: bool


def _over_threshold(records: Sequence[StepRecord]) -> list[_Over]:
    over = []
    for record in records:
        score, threshold = _score(record), _number(record.threshold)
        if record.decision == "computed" and score is not None and threshold is not None and threshold <= score:
            # Without a prediction the score is a change that was measured, and the line must not call it predicted.
            measured = record.prediction is None and record.running_sum is None
            over.append(_Over(score, threshold, predicted=not measured))
    return over


def _advice(records: Sequence[StepRecord], nearest: _Over | None, settings: Settings) -> str | None:
    """How to have steps skipped; ``None`` if that is not known."""
    if not _all_finite(records):  # a number that went bad is no matter of settings
        return None
    steps = [f"leave out {settings.never}"] if settings.never else []
    if settings.budget is not None:
        steps.append(f"ask for fewer computed steps than {settings.budget} gives")
    elif nearest is None:
        steps += [f"lower {' or '.join(settings.limits)}"] if settings.limits and _only_windows(records) else []
    # A higher threshold helps only if the present one is in the way: not if a cap or window held back low scores.
    elif not _would_be_skipped(records, nearest.threshold):
        if settings.threshold_option is None or (higher := _above(nearest.score)) is None:
            return None
        steps.append(f"try {settings.threshold_option} {higher}")
    return ", and ".join(steps) or None


def _above(score: float) -> str | None:
    if score == 0:
        return "above 0"
    higher = next_threshold(score)
    return None if higher is None else f"{higher:g}"


def _all_finite(records: Sequence[StepRecord]) -> bool:
    numbers = [number for record in records for number in (record.change, record.prediction, record.running_sum)]
    return all(number is None or _number(number) is not None for number in numbers)


def _would_be_skipped(records: Sequence[StepRecord], threshold: float) -> bool:
    """Whether some step was under the threshold but computed by a rule anyway."""
    scores = (_score(record) for record in records if record.decision == "forced")
    return any(score is not None and score < threshold for score in scores)


def _only_windows(records: Sequence[StepRecord]) -> bool:
    return {record.reason for record in records if isinstance(record.reason, str)} <= {"first steps", "last steps"}


def _reasons(records: Sequence[StepRecord]) -> str:
    reasons = dict.fromkeys(_text(record.reason) for record in records if record.reason is not None)
    return ", ".join(filter(None, reasons))


def _threshold(records: Sequence[StepRecord]) -> str | None:
    known = (_number(record.threshold) for record in reversed(records))
    return next((f"threshold {threshold:g}" for threshold in known if threshold is not None), None)


def _score(record: StepRecord) -> float | None:
    return next(
        (_number(value) for value in (record.running_sum, record.prediction, record.change) if value is not None), None
    )


def _number(value: Any) -> float | None:
    """The value as a finite number, or ``None``: a plugin may have put anything in its place."""
    if isinstance(value, str | bytes):  # which float() would read
        return None
    try:
        number = float(value)
    except Exception:  # noqa: BLE001 - a type of the plugin's own may raise anything
        return None
    return number if math.isfinite(number) else None


def _text(value: Any, longest: int = LONGEST_REASON) -> str:
    try:
        return shortened(visible(value), longest)
    except Exception:  # noqa: BLE001 - a type of the plugin's own may raise anything
        return type(value).__name__


def next_threshold(score: float) -> float | None:
    """The next round number above ``score``: 0.26 -> 0.3, 0.012 -> 0.015, 0.3 -> 0.35.

    It is ``None`` if there is none, because ``score`` is not positive or too close to the largest float.
    """
    if not 0 < score < math.inf:
        return None
    exact = Decimal(repr(float(score)))  # in decimals, since binary fractions would give 0.30000000000000004
    with localcontext() as context:
        context.prec = 30
        unit = Decimal(5).scaleb(exact.adjusted() - 1)
        higher = (exact // unit + 1) * unit
        while float(higher) <= score:  # among subnormal numbers, several decimals are the same float
            higher += unit
    return float(higher) if math.isfinite(float(higher)) else None
