"""What a tuning has found, as a preset, as a calibration, and as a table with its figures."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from mflux_teacache.bench import figures, results, tables
from mflux_teacache.bench.baseline import no_better
from mflux_teacache.bench.figures import Quality
from mflux_teacache.bench.results import Result
from mflux_teacache.bench.runs import Case
from mflux_teacache.bench.subjects import Subject
from mflux_teacache.presets.preset import Evidence, Preset, PresetKey, Provenance, Setting, key_of
from mflux_teacache.strategies.schedule.budgeted import fall
from mflux_teacache.tune.order import best_first
from mflux_teacache.tune.settings import TuneSettings
from mflux_teacache.tune.tuning import Tuned

HOW = "against full runs of the same prompts and seeds, to which nothing was fitted"

_NO_NAME = re.compile(r"[^a-z0-9._-]+")
_LONGEST_MODEL = 48


def preset_of(tuned: Tuned) -> Preset:
    """The settings that were checked: of each number of computed steps the best first."""
    key = key_of(tuned.runs[0].target)
    assert key is not None, "everything is known of a run that is done"
    made = results.made_with(())
    return Preset(
        name=name_of(key),
        key=key,
        settings=tuple(_settings(tuned)),
        sigmas=_falling(tuned.runs[0].sigmas),
        provenance=Provenance(
            made=date.today().isoformat(),
            versions=made["versions"],
            machine=_chip(made["machine"]),
            fitted_prompts=_prompts(tuned.work.fitted),
            fitted_seeds=_seeds(tuned.work.fitted),
            checked_prompts=_prompts(tuned.work.checked),
            checked_seeds=_seeds(tuned.work.checked),
        ),
    )


def name_of(key: PresetKey) -> str:
    """Such as ``demo-emoji-192x192-28-steps``; what else the key has is told apart by a few letters."""
    model = _NO_NAME.sub("-", key.model.rpartition("/")[2].lower()).strip("-._")[:_LONGEST_MODEL] or "model"
    bits = "" if key.bits is None else f"-{key.bits}-bits"
    others = json.dumps(asdict(key), sort_keys=True)
    return f"{model}{bits}-{key.width}x{key.height}-{key.steps}-steps-{hashlib.sha256(others.encode()).hexdigest()[:6]}"


def result_of(settings: TuneSettings, subject: Subject, tuned: Tuned, preset: Preset) -> Result:
    """What is printed, and the JSON file."""
    checked, baseline = _qualities(tuned)
    fewer = set(map(str, tuned.fewer))
    work = tuned.work
    return Result(
        title=subject.title,
        table=tables.of_quality([*baseline, *checked], {}, {}),
        content={
            **results.asked_of(subject, settings.image),
            "speed_ups": settings.speed_ups,
            "fitted": [asdict(case) for case in work.fitted],
            "checked": [asdict(case) for case in work.checked],
            "candidates": [asdict(candidate) for candidate in tuned.candidates],
            "left_out": dict(tuned.runs[0].left_out),
            "runs": [asdict(run) for run in tuned.judged if run.setting not in fewer],
            "summary": [asdict(entry) for entry in checked],
            "fewer_steps": {
                "runs": [asdict(run) for run in tuned.judged if run.setting in fewer],
                "summary": [asdict(entry) for entry in baseline],
                "not_beaten_by": list(no_better([*baseline, *checked])),
            },
            "preset": preset.name,
        },
        pictures={},
        interrupted=None,
    )


def _qualities(tuned: Tuned) -> tuple[list[Quality], list[Quality]]:
    """Of the candidates, and of fewer steps."""
    settings = [candidate.setting for candidate in tuned.candidates]
    # Of all runs of candidates: a row of fewer steps alone does not know how many a full run has.
    entries = figures.qualities([*settings, *tuned.fewer], tuned.judged)
    return [entry for entry in entries if not entry.is_baseline], [entry for entry in entries if entry.is_baseline]


def _settings(tuned: Tuned) -> list[Setting]:
    checked, baseline = _qualities(tuned)
    quality = {entry.setting: entry for entry in checked}
    fewer = {round(entry.computed): entry.psnr for entry in baseline}
    return [
        Setting(
            plugin=candidate.setting.plugin,
            options=candidate.setting.options,
            computed=candidate.budget,
            steps=tuned.work.steps,
            evidence=_evidence(quality[str(candidate.setting)], fewer.get(candidate.budget)),
        )
        for candidate in best_first(tuned.candidates, tuned.judged)
    ]


def _evidence(entry: Quality, fewer_steps: float | None) -> Evidence:
    return Evidence(
        images=entry.images,
        how=HOW,
        psnr_mean=entry.psnr,
        psnr_worst=entry.worst_psnr,
        ssim_mean=entry.ssim,
        ssim_worst=entry.worst_ssim,
        fewer_steps_psnr=fewer_steps,
    )


def _falling(sigmas: Sequence[float] | None) -> tuple[float, ...] | None:
    return tuple(sigmas) if sigmas is not None and fall(sigmas) else None


def _chip(machine: Mapping[str, Any]) -> str:
    return str(machine["device"].get("device_name") or machine["architecture"])


def _prompts(cases: Sequence[Case]) -> tuple[str, ...]:
    return tuple(case.prompt for case in cases)


def _seeds(cases: Sequence[Case]) -> tuple[int, ...]:
    return tuple(case.seed for case in cases)
