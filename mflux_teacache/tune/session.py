"""The model, while images of it are drawn: those that are kept already are not drawn again."""

from __future__ import annotations

import argparse
import base64
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict
from functools import cached_property
from typing import Any, NamedTuple

import PIL.Image
from tqdm import tqdm

from mflux_teacache.bench.judging import WithoutBar
from mflux_teacache.bench.runs import FULL, Case, FewerSteps, JudgedRun, Row, by_letters
from mflux_teacache.bench.subjects import Subject
from mflux_teacache.bench.unfinished import run_of
from mflux_teacache.bench.variants import LastImage, with_setting
from mflux_teacache.demo.clock import listening
from mflux_teacache.errors import Refused
from mflux_teacache.handle import attach_requests
from mflux_teacache.image_quality import Levels, levels, squared_error, ssim
from mflux_teacache.plugins import Loaded, Request
from mflux_teacache.spelling import brief
from mflux_teacache.tune.candidates import by_budget
from mflux_teacache.tune.folder import Folder, Full
from mflux_teacache.tune.ranks import Ranks
from mflux_teacache.tune.recorded import Recorded, from_json
from mflux_teacache.tune.recorder import Recorder
from mflux_teacache.tune.work import Work


class Task(NamedTuple):
    """An image to compare with the full run of its case.

    Attributes:
        computed: how many steps it computes.
    """

    row: Row
    case: Case
    computed: int


class Kept(NamedTuple):
    """What of some images need not be drawn again.

    Attributes:
        computed: the steps that they computed.
    """

    images: int
    computed: int


_RECORDER = "tune"


class Session:
    """Draws images, spread over all processes. Use it as a context manager, which lets go of the model.

    Args:
        subject: the model, and the arguments of ``generate_image`` that all images share.
        folder: where finished images are kept.
        work: what is asked for.
    """

    def __init__(self, subject: Subject, folder: Folder, ranks: Ranks, work: Work) -> None:
        self._subject, self._folder, self._ranks = subject, folder, ranks
        self._simulated, self._steps = by_budget(work.budgets), work.steps
        self._stack = ExitStack()
        self._full: dict[Case, Full] = {}
        self.bar: Any = tqdm(
            smoothing=0,  # a skipped step takes no time, so only the mean tells how much is left
            disable=None if ranks.speaks else True,
            bar_format="{desc}{percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
        )
        self._stack.callback(self.bar.close)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def _model(self) -> Any:
        """Loaded when the first image is drawn."""
        return self._stack.enter_context(self._subject.load())

    def full_runs(self, cases: Sequence[Case]) -> list[Recorded]:
        """One of each case, in their order. All processes ask for the same."""
        mine = self._ranks.share([case for case in cases if case not in self._full])
        told = [[asdict(case), _spoken(self._full_run(case))] for case in mine]
        for case, (recorded, picture) in (entry for each in self._ranks.gathered(told) for entry in each):
            self._full[Case(**case)] = Full(from_json(recorded), _levels(picture))
        return [self._full[case].recorded for case in cases]

    def judged(self, tasks: Sequence[Task]) -> list[JudgedRun]:
        """Of each setting its image of a case, compared with the full run, which has been drawn before."""
        told = [asdict(self._judged(task)) for task in self._ranks.share(tasks)]
        runs = [run_of(run) for each in self._ranks.gathered(told) for run in each]
        by_task = {(run.setting, run.case): run for run in runs}
        return [by_task[str(task.row), task.case] for task in tasks]

    def kept_full(self, cases: Sequence[Case]) -> int:
        """How many of these full runs are kept. All processes ask for the same."""
        return self._sum(sum(self._known_full(case) is not None for case in self._ranks.share(cases)))

    def kept_judged(self, tasks: Sequence[Task]) -> Kept:
        """What of these is kept, likewise."""
        known = [task for task in self._ranks.share(tasks) if self._folder.judged(str(task.row), task.case) is not None]
        return Kept(self._sum(len(known)), self._sum(sum(task.computed for task in known)))

    def _sum(self, count: int) -> int:
        return sum(self._ranks.gathered(count))

    def _known_full(self, case: Case) -> Full | None:
        known = self._folder.full(case)
        asked = {*map(str, self._simulated)}
        told = known is not None and asked <= {*known.recorded.patterns, *known.recorded.left_out}
        return known if told else None

    def _full_run(self, case: Case) -> tuple[Recorded, bytes]:
        known = self._known_full(case)
        if known is not None:
            self._pass(known.recorded.steps)
            return known.recorded, _png(PIL.Image.fromarray(known.image))
        recorder = Recorder(self._simulated)
        request = Request(Loaded(_RECORDER, lambda: recorder), argparse.Namespace())
        with attach_requests(self._model, [request]):
            image = self._draw(None, case, self._steps)
        assert recorder.recorded is not None, "the image is finished"
        if problem := recorder.recorded.problem:
            raise Refused(
                f"nothing can be worked out from the full run of {brief(case.prompt)} with the seed {case.seed}: "
                f"{problem}. The model does so without plugins too. Draw that image with mflux alone, and tune with "
                f"other weights, bits or prompts."
            )
        self._folder.keep_full(case, recorder.recorded, image)
        return recorder.recorded, _png(image)

    def _judged(self, task: Task) -> JudgedRun:
        row, case, computed = task
        known = self._folder.judged(str(row), case)
        if known is not None:
            self._pass(computed)
            return known
        with self._attached(row) as last_image:
            image = self._draw(row, case, computed)
            done = last_image()
        drawn, reference = levels(image), self._full[case].image
        run = JudgedRun(
            setting=str(row),
            case=case,
            **done._asdict(),
            squared_error=squared_error(drawn, reference),
            ssim=ssim(drawn, reference),
        )
        self._folder.keep_judged(run, image)
        return run

    def _pass(self, steps: int) -> None:
        """The bar goes on, and says nothing about time by these."""
        if not self.bar.disable:  # one that is off knows no beginning
            self.bar.initial += steps
            self.bar.update(steps)

    def _attached(self, row: Row) -> AbstractContextManager[LastImage]:
        if isinstance(row, FewerSteps):
            return nullcontext(lambda: by_letters("C" * row.computed))
        return with_setting(row).attach(self._model)

    def _draw(self, row: Row | None, case: Case, computed: int) -> PIL.Image.Image:
        """One image, in which so many steps are computed; ``None`` for a full run."""
        arguments = {**self._subject.arguments, "prompt": case.prompt, "seed": case.seed}
        steps = self._steps
        if isinstance(row, FewerSteps):
            arguments["num_inference_steps"], steps = row.asked, row.computed
        self.bar.set_description(FULL if row is None else row.series)
        with listening(self._model, _Progress(self.bar, computed / steps)):
            image: PIL.Image.Image = self._model.generate_image(**arguments).image
        return image.convert("RGB")


class _Progress(WithoutBar):
    """A callback of mflux that moves a bar of ours."""

    def __init__(self, bar: Any, share: float) -> None:
        self._bar, self._share = bar, share

    def call_in_loop(self, **_: Any) -> None:
        self._bar.update(self._share)


def _spoken(full: tuple[Recorded, bytes]) -> list[Any]:
    recorded, picture = full
    return [recorded.as_json(), base64.b64encode(picture).decode()]


def _levels(picture: str) -> Levels:
    with PIL.Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        return levels(image)


def _png(image: PIL.Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
