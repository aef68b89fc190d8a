"""How images are judged: every case is drawn once in full, and once for each row of the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import PIL.Image
from mflux.models.common.config.config import Config
from tqdm import tqdm

from mflux_teacache.bench.baseline import budgets, most_budgets
from mflux_teacache.bench.figures import chosen, qualities
from mflux_teacache.bench.runs import FULL, Case, FewerSteps, JudgedRun, Row, Setting, by_letters, whole
from mflux_teacache.bench.settings import asked_steps
from mflux_teacache.bench.subjects import Subject
from mflux_teacache.bench.tables import duration
from mflux_teacache.bench.variants import LastImage, with_setting
from mflux_teacache.demo.clock import listening
from mflux_teacache.errors import Refused
from mflux_teacache.image_quality import Levels, levels, squared_error, ssim

_THUMBNAIL = (384, 384)


@dataclass(slots=True, kw_only=True)
class Judged:
    """Attributes:
    runs: row by row, in the order of the cases; of whole rows.
    drawn: all runs, also those of the row that is being drawn.
    fewer: the rows of fewer steps, which are chosen when the settings are done.
    refusals: by setting that has no runs: why it was turned down.
    thumbnails: by row, ``FULL`` among them, and case.
    interrupted: there are, or were, to be more rows.
    """

    runs: tuple[JudgedRun, ...] = ()
    drawn: dict[tuple[str, Case], JudgedRun] = field(default_factory=dict)
    fewer: tuple[FewerSteps, ...] = ()
    refusals: dict[str, str] = field(default_factory=dict)
    thumbnails: dict[tuple[str, Case], PIL.Image.Image] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def idle(self) -> dict[str, str]:
        """By setting that skipped nothing in any image: why not in the last one, and what to try."""
        notes: dict[str, list[str | None]] = {}
        for run in self.runs:
            notes.setdefault(run.setting, []).append(run.note)
        return {setting: str(of_runs[-1]) for setting, of_runs in notes.items() if all(of_runs)}


def judge(
    subject: Subject,
    cases: Sequence[Case],
    settings: Sequence[Setting],
    shown: Collection[Case],
    *,
    drawn: Collection[JudgedRun] = (),
    keep: Callable[[Judged], None] = lambda judged: None,
) -> Judged:
    """Load the model and draw everything, with a progress bar.

    Args:
        subject: the model, and the arguments of ``generate_image`` that all cases share.
        cases: different ones.
        settings: a setting that a plugin refuses is reported, and the others go on.
        shown: the cases of which thumbnails are kept.
        drawn: runs that are there already, and are not drawn again. The full runs of the cases that are still to be
            compared are, and so is what the contact sheet lacks.
        keep: is called after each image that was compared, with all that is there.

    Raises:
        HookFailed: a plugin failed.
        KeyboardInterrupt: before a whole row was drawn; or what mflux makes of it.
    """
    total = len(cases) * (1 + len(settings) + most_budgets(len(settings))) - len(drawn)
    with subject.load() as model, tqdm(total=total, unit="image") as bar:
        session = _Session(subject, model, cases, shown, keep, bar)
        session.judged.drawn.update({(run.setting, run.case): run for run in drawn})
        _, session.judged.interrupted = whole(session.compared(settings))
    return session.judged


@dataclass(slots=True)
class _Session:
    """The loaded model, while everything is drawn; arguments as in ``judge``."""

    subject: Subject
    model: Any
    cases: Sequence[Case]
    shown: Collection[Case]
    keep: Callable[[Judged], None]
    bar: Any
    judged: Judged = field(default_factory=lambda: Judged(interrupted=True))
    full: dict[Case, Levels] = field(default_factory=dict)

    def compared(self, settings: Sequence[Setting]) -> Iterator[list[JudgedRun]]:
        """The runs of each row, but of settings that a plugin refuses: settings, and then fewer steps."""
        for setting in settings:
            yield from self._unless_refused(setting)
        self._choose_fewer_steps(settings)
        for row in self.judged.fewer:
            yield self._runs(row)
        self._complete_sheet([*self.judged.fewer, *settings])

    def _unless_refused(self, setting: Setting) -> Iterator[list[JudgedRun]]:
        try:
            yield self._runs(setting)
        except Refused as refused:
            self.judged.refusals[str(setting)] = str(refused)
            self._expect_less(len(self._left(setting)))

    def _choose_fewer_steps(self, settings: Sequence[Setting]) -> None:
        chosen_budgets = budgets(qualities(settings, self.judged.runs))
        arguments = self.subject.arguments
        self.judged.fewer = tuple(FewerSteps(active, asked_steps(active, arguments)) for active in chosen_budgets)
        self._expect_less(len(self.cases) * (most_budgets(len(settings)) - len(chosen_budgets)))

    def _runs(self, row: Row) -> list[JudgedRun]:
        """Those that are there, and the others."""
        left = self._left(row)
        for case in left:
            self._reference(case)  # before anything is attached
        if left:
            self._compare(row, left)
        runs = [self.judged.drawn[str(row), case] for case in self.cases]
        self.judged.runs += tuple(runs)
        return runs

    def _left(self, row: Row) -> list[Case]:
        return [case for case in self.cases if (str(row), case) not in self.judged.drawn]

    def _compare(self, row: Row, cases: Sequence[Case]) -> None:
        with self._attached(row) as last_image:
            for case in cases:
                image, reference = self._draw(row, case), self.full[case]
                self.judged.drawn[str(row), case] = JudgedRun(
                    setting=str(row),
                    case=case,
                    squared_error=squared_error(image, reference),
                    ssim=ssim(image, reference),
                    **last_image()._asdict(),
                )
                self.keep(self.judged)

    def _attached(self, row: Row) -> AbstractContextManager[LastImage]:
        if isinstance(row, FewerSteps):
            return nullcontext(lambda: by_letters("C" * row.computed))
        return with_setting(row).attach(self.model)

    def _reference(self, case: Case) -> None:
        """Draw a full run, if it is not there; the first one says how long all takes."""
        if case in self.full:
            return
        begun = time.perf_counter()
        self.full[case] = self._draw(None, case)
        if len(self.full) == 1:
            seconds = time.perf_counter() - begun
            self.bar.write(
                f"The first image took {duration(seconds)}: all {self.bar.total} take at most about "
                f"{duration(seconds * self.bar.total)}, since it has every step."
            )

    def _draw(self, row: Row | None, case: Case) -> Levels:
        """``None`` for a full run."""
        label = FULL if row is None else str(row)
        arguments = {**self.subject.arguments, "prompt": case.prompt, "seed": case.seed}
        if isinstance(row, FewerSteps):
            arguments["num_inference_steps"] = row.asked
        self.bar.set_description(label, refresh=False)
        with listening(self.model, WithoutBar()):
            image = self.model.generate_image(**arguments).image
        self.bar.update()
        if case in self.shown:
            small = self.judged.thumbnails[label, case] = image.convert("RGB")
            small.thumbnail(_THUMBNAIL)
        return levels(image)

    def _complete_sheet(self, rows: Sequence[Row]) -> None:
        """Draw once more what is shown and was drawn before this run began."""
        if not self.shown:
            return
        names = {entry.setting for entry in chosen(qualities(rows, self.judged.runs))}
        for row in (None, *(row for row in rows if str(row) in names)):
            label = FULL if row is None else str(row)
            if missing := [case for case in self.shown if (label, case) not in self.judged.thumbnails]:
                self.bar.total += len(missing)
                with nullcontext() if row is None else self._attached(row):
                    for case in missing:
                        self._draw(row, case)

    def _expect_less(self, images: int) -> None:
        self.bar.total -= images
        self.bar.refresh()


class WithoutBar:
    """A callback that takes mflux's progress bar, one for each image, away."""

    def call_before_loop(self, *, config: Config, **_: Any) -> None:
        config.time_steps.leave = False
        config.time_steps.close()
