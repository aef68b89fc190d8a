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
    with subject.load() as model, tqdm(total=len(cases) * (1 + len(settings)), unit="image") as bar:
        session = _Session(model, subject.arguments, bar, shown)
        full = {case: session.draw(FULL, case) for case in cases}
        session.judged.runs, session.judged.interrupted = whole(session.compared(settings, full))
    return session.judged


@dataclass(slots=True)
class _Session:
    """The loaded model, while everything is drawn; arguments as in ``judge``."""

    model: Any
    arguments: Mapping[str, Any]
    bar: Any
    shown: Collection[Case]
    judged: Judged = field(default_factory=Judged)

    def draw(self, label: str, case: Case) -> Levels:
        self.bar.set_description(label, refresh=False)
        with listening(self.model, _WithoutBar()):
            image = self.model.generate_image(**{**self.arguments, "prompt": case.prompt, "seed": case.seed}).image
        self.bar.update()
        if case in self.shown:
            small = self.judged.thumbnails[label, case] = image.convert("RGB")
            small.thumbnail(_THUMBNAIL)
        return levels(image)

    def compared(self, settings: Sequence[Setting], full: Mapping[Case, Levels]) -> Iterator[list[JudgedRun]]:
        """The runs of each setting that no plugin refuses."""
        for place, setting in enumerate(settings, 1):
            try:
                runs = self._runs(setting, full)
            except Refused as refused:
                self.judged.refusals[str(setting)] = str(refused)
                self.bar.total = self.bar.n + len(full) * (len(settings) - place)
                self.bar.refresh()
            else:
                yield runs

    def _runs(self, setting: Setting, full: Mapping[Case, Levels]) -> list[JudgedRun]:
        runs: list[JudgedRun] = []
        notes: list[str | None] = []
        with with_setting(setting).attach(self.model) as last_image:
            for case, reference in full.items():
                image = self.draw(str(setting), case)
                pattern, computed, note = last_image()
                notes.append(note)
                runs.append(
                    JudgedRun(
                        setting=str(setting),
                        case=case,
                        pattern=pattern,
                        computed=computed,
                        squared_error=squared_error(image, reference),
                        ssim=ssim(image, reference),
                    )
                )
        if all(notes):
            self.judged.idle[str(setting)] = str(notes[-1])
        return runs


class _WithoutBar:
    """A callback that takes mflux's progress bar, one for each image, away."""

    def call_before_loop(self, *, config: Config, **_: Any) -> None:
        config.time_steps.leave = False
        config.time_steps.close()
