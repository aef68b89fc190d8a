"""A preset: which settings were found best for a model, for what kind of image, and how that is known. No mlx."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from mflux_teacache.pieces.data_files import loras_of
from mflux_teacache.records import Target, speedup

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetKey:
    """What a preset was made for.

    Attributes:
        model: the name that mflux's ``ModelConfig`` has; of a checkpoint in a folder, the folder's name.
        base_model: the id of the built-in model that a custom checkpoint says it is based on.
        pipeline: class name of the mflux pipeline.
        bits: bits per weight; ``None`` = not quantised.
        loras: the scale of each LoRA, by the name of its file, as ``loras_of`` gives them; never a path.
        width, height: of the images, in pixels.
        steps: of the whole schedule.
        image_input: the runs began with an input image, and so ran only the end of the schedule.
        guidance: guidance scale.
        scheduler: class name of mflux's scheduler; ``None`` = not recorded.
    """

    model: str
    pipeline: str
    width: int
    height: int
    steps: int
    guidance: float
    base_model: str | None = None
    bits: int | None = None
    loras: Mapping[str, float] = field(default_factory=dict)
    image_input: bool = False
    scheduler: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How close the images of a setting came to those of full runs: measured, and not on what it was fitted to.

    A PSNR of ``None`` stands for infinity: the images are the same.

    Attributes:
        images: how many were compared, each with the full run of the same prompt and seed.
        psnr_mean, psnr_worst: in dB.
        ssim_mean, ssim_worst: from 0 to 1.
        fewer_steps_psnr: the mean of runs without plugins that take as many steps as the setting computes, in dB;
            ``None`` if that was not measured.
        how: how it was measured, in a few words.
    """

    images: int
    how: str
    ssim_mean: float
    ssim_worst: float
    psnr_mean: float | None = None
    psnr_worst: float | None = None
    fewer_steps_psnr: float | None = None

    @property
    def is_beaten(self) -> bool:
        """Fewer steps, which take as long, came as close to the full runs or closer."""
        return (
            self.psnr_mean is not None and self.fewer_steps_psnr is not None and self.psnr_mean <= self.fewer_steps_psnr
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A built-in strategy with its options, for one budget.

    Attributes:
        plugin: the strategy's name.
        options: its options by their keywords, as ``attach`` takes them: plain values, with a schedule's steps inline
            as ``pattern``, and never a file.
        computed, steps: steps that it computes, of those that a run has.
        evidence: ``None`` if it was not checked by real runs.
    """

    plugin: str
    options: Mapping[str, Any]
    computed: int
    steps: int
    evidence: Evidence | None = None

    @property
    def speedup(self) -> float:
        """Steps over computed ones: the most that skipping can give."""
        return speedup(self.steps, self.computed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a preset comes from.

    Attributes:
        made: the day, such as ``2026-11-27``.
        versions: of mflux, mlx and this package, by name.
        machine: the chip.
        fitted_prompts, fitted_seeds: of the full runs that the settings were chosen on.
        checked_prompts, checked_seeds: of the images that the evidence is about.
        license: SPDX expression, for a preset that is shared.
        note: what else a user should know.
    """

    made: str
    versions: Mapping[str, str]
    machine: str | None = None
    fitted_prompts: tuple[str, ...] = ()
    fitted_seeds: tuple[int, ...] = ()
    checked_prompts: tuple[str, ...] = ()
    checked_seeds: tuple[int, ...] = ()
    license: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The best settings for one key, one or more for each budget.

    ``reading.parse`` checks a file's; ``store.save`` checks what it writes in the same way.

    Attributes:
        name: its name in the store, which is the name of its file.
        key: what it was made for.
        settings: by rising number of computed steps; of one budget the best first.
        provenance: where it comes from.
        sigmas: noise level of each active step of the runs, falling, by which a list of steps is carried over to other
            runs; ``None`` where they are not known.
    """

    name: str
    key: PresetKey
    settings: tuple[Setting, ...]
    provenance: Provenance
    sigmas: tuple[float, ...] | None = None


def as_text(preset: Preset) -> str:
    """The text of a file with this preset."""
    return json.dumps({"schema": SCHEMA, **asdict(preset)}, indent=2, allow_nan=False) + "\n"


def key_of(target: Target) -> PresetKey | None:
    """What a run's preset would be made for; ``None`` as long as something of it is not known."""
    model = target.model_path or target.model
    known: dict[str, Any] = {name: getattr(target, name) for name in ("width", "height", "steps", "guidance")}
    if model is None or target.active_steps is None or None in known.values():
        return None
    return PresetKey(
        **known,
        model=called(model),
        base_model=target.base_model,
        pipeline=target.pipeline,
        bits=target.quantize,
        loras=loras_of(target),
        image_input=target.active_steps < known["steps"],
        scheduler=target.scheduler,
    )


def called(model: str) -> str:
    """A model's name: its id, or the name of its folder."""
    return model if is_name(model) else PurePosixPath(model).name or model


def is_name(text: str, parts: int = 2) -> bool:
    """Whether a text has the form of an id, such as ``owner/name``, or of a file's name, and not that of a path."""
    names = text.split("/")
    return (
        0 < len(names) <= parts
        and all(name.strip(".") and not name.startswith("~") for name in names)
        and not PureWindowsPath(text).drive
        and "\\" not in text
    )
