"""A tuning from its first full run to the figures of what was checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from mflux_teacache.bench.runs import FewerSteps, JudgedRun, Row
from mflux_teacache.bench.settings import asked_steps
from mflux_teacache.bench.subjects import Subject
from mflux_teacache.bench.tables import duration
from mflux_teacache.errors import Refused
from mflux_teacache.tune.candidates import Candidate, chosen
from mflux_teacache.tune.folder import Folder
from mflux_teacache.tune.ranks import Ranks
from mflux_teacache.tune.recorded import Recorded
from mflux_teacache.tune.session import Session, Task
from mflux_teacache.tune.settings import TuneSettings
from mflux_teacache.tune.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What came out.

    Attributes:
        work: what was drawn.
        runs: the full run of each of its cases.
        candidates: those that were checked.
        fewer: the rows of fewer steps, one for each budget.
        judged: the images of candidates and of fewer steps, on the cases that nothing was fitted to.
    """

    work: Work
    runs: tuple[Recorded, ...]
    candidates: tuple[Candidate, ...]
    fewer: tuple[FewerSteps, ...]
    judged: tuple[JudgedRun, ...]


def asked_work(settings: TuneSettings) -> Work:
    """All that is asked for, as if there were time for it."""
    return Work(cases=settings.cases, steps=settings.image.active_steps, budgets=settings.budgets)


def tuned(settings: TuneSettings, subject: Subject, folder: Folder, ranks: Ranks) -> Tuned:
    """Draw everything that is not kept yet, and work out the rest. All processes come to the same.

    Raises:
        Refused: the minutes are not enough for anything.
        NotWritten: an image could not be kept.
        KeyboardInterrupt: or what mflux makes of it.
    """
    asked = asked_work(settings)
    with Session(subject, folder, ranks, asked) as session:
        work, known = _timed(settings, asked, session, ranks, subject)
        check = known or _check(work, session, subject)
        judged = session.judged(check.tasks)
    return Tuned(
        work=work,
        runs=tuple(check.runs),
        candidates=tuple(check.candidates),
        fewer=tuple(check.fewer),
        judged=tuple(judged),
    )


class _Check(NamedTuple):
    """What is compared, known when the full runs are there."""

    runs: list[Recorded]
    candidates: list[Candidate]
    fewer: list[FewerSteps]
    tasks: list[Task]


def _check(work: Work, session: Session, subject: Subject) -> _Check:
    runs = session.full_runs(work.cases)
    candidates = chosen(runs[: len(work.fitted)], work.budgets, work.candidates)
    fewer = [FewerSteps(budget, asked_steps(budget, subject.arguments)) for budget in work.budgets]
    asked_for: list[tuple[Row, int]] = [(candidate.setting, candidate.budget) for candidate in candidates]
    asked_for += [(row, row.computed) for row in fewer]
    tasks = [Task(row, case, computed) for row, computed in asked_for for case in work.checked]
    return _Check(runs, candidates, fewer, tasks)


def _timed(
    settings: TuneSettings, asked: Work, session: Session, ranks: Ranks, subject: Subject
) -> tuple[Work, _Check | None]:
    """What there is time for. The first full runs say how long a step takes."""
    session.bar.reset(total=asked.computed / ranks.size)
    begin = asked.cases[: ranks.size]
    new = len(begin) - session.kept_full(begin)
    first, *_ = session.full_runs(begin)
    per_step = first.seconds / first.steps / ranks.size
    taken = asked if settings.minutes is None else asked.within(60 * settings.minutes / per_step)
    if taken is None:
        raise _too_short(settings, asked, first.seconds, per_step)
    before = _before(taken, session, subject, new)
    session.bar.total = taken.computed / ranks.size
    session.bar.refresh()
    if ranks.speaks:
        session.bar.write(_estimate(taken, before, first.seconds, per_step) + _left_out(asked, taken))
    return taken, before.check


def _too_short(settings: TuneSettings, asked: Work, full: float, per_step: float) -> Refused:
    """What is too short, and what is not: other minutes, or the one speed-up that takes the least."""
    assert settings.minutes is not None, "else it is long enough"
    least, fastest = asked.least.computed * per_step, max(settings.speed_ups)
    alone = replace(asked, budgets=asked.budgets[-1:]).within(60 * settings.minutes / per_step)
    return Refused(
        f"--minutes {settings.minutes:g} is too short: a full run takes {duration(full)}, and the least that says "
        f"anything takes {duration(least)}. What is drawn is kept; go on with --minutes {int(least / 60) + 1} or more"
        f"{f', or with --speedups {fastest:g} alone' if alone else ''}."
    )


class _Before(NamedTuple):
    """What an earlier run of the same question has left.

    Attributes:
        images: how many of ``of`` are kept.
        left: computed steps that are still to be drawn.
        check: known if all full runs are kept; if not, ``of`` is the most images that there can be.
    """

    images: int
    of: int
    left: int
    check: _Check | None = None


def _before(work: Work, session: Session, subject: Subject, new: int) -> _Before:
    """``new``: how many of the full runs have been drawn just now. All processes ask for the same."""
    full = session.kept_full(work.cases)
    images, left = full - new, work.computed - full * work.steps
    if full < len(work.cases):  # what is to be checked is not known yet
        return _Before(images, work.images, left)
    check = _check(work, session, subject)
    kept = session.kept_judged(check.tasks)
    left = sum(task.computed for task in check.tasks) - kept.computed
    return _Before(images + kept.images, full + len(check.tasks), left, check)


def _estimate(taken: Work, before: _Before, seconds: float, per_step: float) -> str:
    if not before.images:
        return f"A full run takes {duration(seconds)}: all takes about {duration(taken.computed * per_step)}."
    most = "" if before.check else "at most "
    there = f"{before.images} of {most}{before.of} images are kept from an earlier run"
    if not before.left:
        return f"{there}: nothing is left to draw."
    return (
        f"{there}. A full run takes {duration(seconds)}: what is left takes about {duration(before.left * per_step)}."
    )


def _left_out(asked: Work, taken: Work) -> str:
    if taken == asked:
        return ""
    return (
        f" There is no time for more: {len(taken.cases)} of {len(asked.cases)} prompts are used, and "
        f"{taken.candidates} of {asked.candidates} settings of each speed-up are checked."
    )
