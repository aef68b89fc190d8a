"""The section of a preset, as ``mflux-teacache tune`` writes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from mflux_teacache.bench.figures import Quality
from mflux_teacache.bench.runs import FEWER_STEPS, FewerSteps
from mflux_teacache.pieces.data_files import spelt
from mflux_teacache.presets.preset import Preset, Setting
from mflux_teacache.report import facts
from mflux_teacache.report.measurements import chart_of
from mflux_teacache.report.page import Details, Section, Table

_HEADING = ("setting", "computed", "speed-up", "PSNR", "worst", "SSIM", "worst", "fewer steps, PSNR", "images")


def of_preset(preset: Preset) -> Section:
    """Its settings with their evidence, and the fewer steps that they have to beat."""
    checked = [setting for setting in preset.settings if setting.evidence is not None]
    known = [quality for setting in checked for quality in _qualities(setting)]
    return Section(
        title=f"Preset: {preset.name}",
        summary=f"{len(preset.settings)} settings for {preset.key.model}, {len(checked)} of them checked by real runs.",
        charts=[chart_of(known)] if known else [],
        table=Table(_HEADING, list(map(_cells, preset.settings))),
        notes=list(dict.fromkeys(setting.evidence.how for setting in checked if setting.evidence is not None)),
        facts=_facts(preset),
        details=_prompts(preset),
    )


def _name(setting: Setting) -> str:
    return " ".join([setting.plugin, *(f"{name}={value}" for name, value in setting.options.items())])


def _qualities(setting: Setting) -> list[Quality]:
    """As the bench has them: the setting, and as many steps without a plugin where they were measured."""
    evidence = setting.evidence
    assert evidence is not None, "it was checked"
    made = Quality(
        setting=_name(setting),
        series=setting.plugin,
        forecast=0,
        images=evidence.images,
        equal=0 if evidence.psnr_mean is not None else evidence.images,
        computed=setting.computed,
        steps=setting.steps,
        psnr=evidence.psnr_mean,
        worst_psnr=evidence.psnr_worst,
        ssim=evidence.ssim_mean,
        worst_ssim=evidence.ssim_worst,
        speed_up=setting.speedup,
    )
    if evidence.fewer_steps_psnr is None:
        return [made]
    fewer = replace(
        made,
        setting=str(FewerSteps(setting.computed, setting.computed)),
        series=FEWER_STEPS,
        psnr=evidence.fewer_steps_psnr,
        equal=0,
        worst_psnr=math.nan,  # of which nothing is drawn
        ssim=math.nan,
        worst_ssim=math.nan,
    )
    return [fewer, made]


def _cells(setting: Setting) -> Sequence[str]:
    evidence = setting.evidence
    head = (_name(setting), f"{setting.computed}/{setting.steps}", f"{setting.speedup:.2f}x")
    if evidence is None:
        return (*head, "not checked", *[""] * 5)
    decibels = [_decibels(value) for value in (evidence.psnr_mean, evidence.psnr_worst)]
    fewer = "-" if evidence.fewer_steps_psnr is None else f"{evidence.fewer_steps_psnr:.1f}"
    return (*head, *decibels, f"{evidence.ssim_mean:.4f}", f"{evidence.ssim_worst:.4f}", fewer, str(evidence.images))


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f}"


def _facts(preset: Preset) -> list[tuple[str, str]]:
    key, origin = preset.key, preset.provenance
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    return [
        *facts.named("model", key.model),
        *facts.named("base model", key.base_model),
        *facts.named("pipeline", key.pipeline),
        *facts.named("weights", f"{key.bits} bits" if key.bits else "not quantised"),
        *facts.named("LoRAs", spelt(key.loras)),
        *facts.named("image", f"{key.width}x{key.height}, {key.steps} steps, guidance {key.guidance:g}"),
        *facts.named("scheduler", key.scheduler),
        *facts.named("made", origin.made),
        *facts.named("versions", versions),
        *facts.named("machine", origin.machine),
        *facts.named("licence", origin.license),
        *facts.named("note", origin.note),
    ]


def _prompts(preset: Preset) -> list[Details]:
    origin = preset.provenance
    sets = (
        ("Prompts that the settings were chosen on", origin.fitted_prompts, origin.fitted_seeds),
        ("Prompts of the evidence", origin.checked_prompts, origin.checked_seeds),
    )
    return [
        Details(title, "\n".join([*prompts, f"seeds {', '.join(map(str, seeds))}"]))
        for title, prompts, seeds in sets
        if prompts
    ]
