"""How images are judged: every case is drawn once in full, and once with each setting."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import PIL.Image
from mflux.models.common.config.config import Config
from tqdm import tqdm

from mflux_teacache.bench.runs import Case, JudgedRun, Setting, whole
from mflux_teacache.bench.subjects import Subject
from mflux_teacache.bench.variants import with_setting
from mflux_teacache.demo.clock import listening
from mflux_teacache.errors import Refused
from mflux_teacache.image_quality import Levels, levels, squared_error, ssim

FULL = "every step"

_THUMBNAIL = (384, 384)


@dataclass(slots=True, kw_only=True)
class Judged:
    """Attributes:
    runs: setting by setting, in the order of the cases; of whole settings.
    refusals: by setting that has no runs: why it was turned down.
    idle: by setting that skipped nothing in any image: why not in the last one, and what to try.
    thumbnails: by setting, ``FULL`` among them, and case.
    interrupted: there were to be more settings.
    """

    runs: tuple[JudgedRun, ...] = ()
    refusals: dict[str, str] = field(default_factory=dict)
    idle: dict[str, str] = field(default_factory=dict)
    thumbnails: dict[tuple[str, Case], PIL.Image.Image] = field(default_factory=dict)
    interrupted: bool = False


def judge(subject: Subject, cases: Sequence[Case], settings: Sequence[Setting], shown: Collection[Case]) -> Judged:
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
    judged = Judged()
    with subject.load() as model, tqdm(total=len(cases) * (1 + len(settings)), unit="image") as bar:

        def draw(label: str, case: Case) -> Levels:
            bar.set_description(label, refresh=False)
            with listening(model, _WithoutBar()):
                image = model.generate_image(**{**subject.arguments, "prompt": case.prompt, "seed": case.seed}).image
            bar.update()
            if case in shown:
                judged.thumbnails[label, case] = _thumbnail(image)
            return levels(image)

        full = {case: draw(FULL, case) for case in cases}

        def made() -> Iterator[list[JudgedRun]]:
            for setting in settings:
                left = bar.n + len(cases)
                try:
                    runs = _runs(model, setting, full, draw, judged.idle)
                except Refused as refused:
                    judged.refusals[str(setting)] = str(refused)
                    bar.total -= left - bar.n
                    bar.refresh()
                else:
                    yield runs

        judged.runs, judged.interrupted = whole(made())
    return judged


def _runs(
    model: Any, setting: Setting, full: Mapping[Case, Levels], draw: Any, idle: dict[str, str]
) -> list[JudgedRun]:
    runs: list[JudgedRun] = []
    notes: list[str | None] = []
    with with_setting(setting).attach(model) as last_image:
        for case, reference in full.items():
            image = draw(str(setting), case)
            done = last_image()
            notes.append(done.note)
            runs.append(
                JudgedRun(
                    setting=str(setting),
                    case=case,
                    pattern=done.pattern,
                    computed=done.computed,
                    squared_error=squared_error(image, reference),
                    ssim=ssim(image, reference),
                )
            )
    if all(notes):
        idle[str(setting)] = str(notes[-1])
    return runs


def _thumbnail(image: PIL.Image.Image) -> PIL.Image.Image:
    small = image.convert("RGB")
    small.thumbnail(_THUMBNAIL)
    return small


class _WithoutBar:
    """A callback that takes mflux's progress bar, one for each image, away."""

    def call_before_loop(self, *, config: Config, **_: Any) -> None:
        config.time_steps.leave = False
        config.time_steps.close()
