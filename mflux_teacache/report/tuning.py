"""The section of what ``mflux-teacache tune`` has written with ``--json``: that of a bench, and how well it foresaw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from mflux_teacache.bench.runs import Setting
from mflux_teacache.charts import fit
from mflux_teacache.pieces.option_types import is_drawn
from mflux_teacache.report import facts
from mflux_teacache.report.measurements import of_quality
from mflux_teacache.report.page import Details, Picture, Section, chart

_SAYS = {
    "given": "error that full runs foretold, as a power of 10",
    "predicted": "PSNR of real runs, dB",
    "points": "a setting",
}
_FEWEST = 3  # points, for a line that leaves something to see


def of_tuning(content: Mapping[str, Any], where: str) -> Section:
    """The settings that were checked, and how their closeness followed the error that was foretold.

    Raises:
        OptionError: it is not such a result.
    """
    section = of_quality(content, where)
    section.title = f"Tuning: {content.get('model', 'a model')}"
    section.charts = [*section.charts, *_foretold(content)]
    section.facts = [
        *facts.named("preset", content.get("preset")),
        *facts.named("speed-ups", ", ".join(map(str, _list(content.get("speed_ups"))))),
        *section.facts,
    ]
    left_out = content.get("left_out")
    reasons = [f"{name}: {why}" for name, why in left_out.items()] if isinstance(left_out, dict) else []
    section.details = [
        *section.details,
        *_cases("Prompts that the settings were chosen on", content.get("fitted")),
        *_cases("Prompts that they were checked on", content.get("checked")),
        *([Details("Left out", "\n".join(reasons))] if reasons else []),
    ]
    return section


def _foretold(content: Mapping[str, Any]) -> list[Picture]:
    """A line through all settings, and by how much each is off."""
    reached = {entry["setting"]: entry.get("psnr") for entry in content["summary"]}
    pairs = [
        (math.log10(error), reached[name])
        for name, error in map(_candidate, _list(content.get("candidates")))
        if error > 0 and is_drawn(reached.get(name))
    ]
    given = [error for error, _ in pairs]
    if len(set(given)) < _FEWEST:
        return []
    line = np.polyfit(given, [level for _, level in pairs], 1).tolist()
    draw = partial(fit.drawn, "", line, (min(given), max(given)), pairs, **_SAYS)
    return [chart(draw, "How PSNR follows the error that was foretold", "How well full runs foretell real ones.")]


def _candidate(entry: Any) -> tuple[str, float]:
    """A setting as the table spells it, with its error; 0 where the file does not say."""
    setting = entry.get("setting") if isinstance(entry, dict) else None
    if not isinstance(setting, dict) or not isinstance(setting.get("options"), dict):
        return "", 0.0
    error = entry.get("error")
    return str(Setting(str(setting.get("plugin")), setting["options"])), float(error) if is_drawn(error) else 0.0


def _cases(title: str, cases: Any) -> list[Details]:
    told = [f"{case.get('prompt')} (seed {case.get('seed')})" for case in _list(cases) if isinstance(case, dict)]
    return [Details(title, "\n".join(told))] if told else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
