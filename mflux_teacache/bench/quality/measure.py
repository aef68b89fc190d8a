"""Draws every case once in full, and once with each setting."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import PIL.Image
from mflux.models.common.config.config import Config
from tqdm import tqdm

from mflux_teacache import options
from mflux_teacache.attachment import Request, attach_requests
from mflux_teacache.bench.quality.metrics import Levels, squared_error, ssim
from mflux_teacache.bench.quality.runs import Case, Refusal, Run, Setting
from mflux_teacache.bench.quality.settings import load
from mflux_teacache.bench.subjects import Subject
from mflux_teacache.demo.clock import listening
from mflux_teacache.errors import Refused, is_interruption
from mflux_teacache.summary import why_idle

FULL = "every step"

_THUMBNAIL = (384, 384)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Attributes:
    runs: setting by setting, in the order of the cases; of whole settings.
    refusals: settings that have no runs.
    idle: by setting that skipped nothing in any image: why not in the last one, and what to try.
    thumbnails: by setting, ``FULL`` among them, and case.
    interrupted: there were to be more settings.
    """

    runs: tuple[Run, ...]
    refusals: tuple[Refusal, ...]
    idle: Mapping[str, str]
    thumbnails: Mapping[tuple[str, Case], PIL.Image.Image]
    interrupted: bool = False


def measure(subject: Subject, cases: Sequence[Case], settings: Sequence[Setting], shown: Collection[Case]) -> Measured:
    """Load the model and draw everything, with a progress bar.

    Args:
        subject: the model, and the arguments of ``generate_image`` that all cases share.
        cases: different ones.
        settings: a setting that a plugin refuses is reported, and the others go on.
        shown: the cases of which thumbnails are kept.

    Raises:
        HookFailed: a plugin failed.
        KeyboardInterrupt: before a whole setting was drawn; or what mflux makes of it.
    """
    runs: list[Run] = []
    refusals: list[Refusal] = []
    idle: dict[str, str] = {}
    thumbnails: dict[tuple[str, Case], PIL.Image.Image] = {}
    interrupted = False
    with subject.load() as model, tqdm(total=len(cases) * (1 + len(settings)), unit="image") as bar:

        def draw(label: str, case: Case) -> Levels:
            bar.set_description(label, refresh=False)
            with listening(model, _WithoutBar()):
                image = model.generate_image(**{**subject.arguments, "prompt": case.prompt, "seed": case.seed}).image
            bar.update()
            if case in shown:
                thumbnails[label, case] = _thumbnail(image)
            return np.asarray(image.convert("RGB"))

        full = {case: draw(FULL, case) for case in cases}
        for setting in settings:
            left = bar.n + len(cases)
            try:
                made, why_not = _runs(model, setting, full, draw)
                runs += made
                if why_not is not None:
                    idle[str(setting)] = why_not
            except Refused as refused:
                refusals.append(Refusal(str(setting), str(refused)))
                bar.total -= left - bar.n
                bar.refresh()
            except BaseException as error:
                if not is_interruption(error) or not runs:
                    raise
                interrupted = True
                break
    return Measured(
        runs=tuple(runs), refusals=tuple(refusals), idle=idle, thumbnails=thumbnails, interrupted=interrupted
    )


def _runs(model: Any, setting: Setting, full: Mapping[Case, Levels], draw: Any) -> tuple[list[Run], str | None]:
    """And where none of them skipped anything, why."""
    plugin = load(setting.plugin)
    runs = []
    notes = []
    with attach_requests(model, [Request(plugin, options.from_keywords(plugin, setting.options))]) as handle:
        for case, reference in full.items():
            image = draw(str(setting), case)
            stats = handle.stats.last_generation
            assert stats is not None, "an image was made"
            notes.append(why_idle(stats, plugin, setting.options))
            runs.append(
                Run(
                    setting=str(setting),
                    case=case,
                    pattern=stats.pattern,
                    squared_error=squared_error(image, reference),
                    ssim=ssim(image, reference),
                )
            )
    return runs, notes[-1] if all(notes) else None


def _thumbnail(image: PIL.Image.Image) -> PIL.Image.Image:
    small = image.convert("RGB")
    small.thumbnail(_THUMBNAIL)
    return small


class _WithoutBar:
    """A callback that takes mflux's progress bar, one for each image, away."""

    def call_before_loop(self, *, config: Config, latents: mx.array, **_: Any) -> None:
        config.time_steps.leave = False
        config.time_steps.close()
