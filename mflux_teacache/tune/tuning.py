"""A tuning from its first full run to the figures of what was checked."""

from __future__ import annotations

from dataclasses import dataclass

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
        work = _timed(settings, asked, session, ranks)
        runs = session.full_runs(work.cases)
        fitted = runs[: len(work.fitted)]
        candidates = chosen(fitted, work.budgets, work.candidates)
        fewer = [FewerSteps(budget, asked_steps(budget, subject.arguments)) for budget in work.budgets]
        asked_for: list[tuple[Row, int]] = [(candidate.setting, candidate.budget) for candidate in candidates]
        asked_for += [(row, row.computed) for row in fewer]
        judged = session.judged([Task(row, case, computed) for row, computed in asked_for for case in work.checked])
    return Tuned(
        work=work,
        runs=tuple(runs),
        candidates=tuple(candidates),
        fewer=tuple(fewer),
        judged=tuple(judged),
    )


def _timed(settings: TuneSettings, asked: Work, session: Session, ranks: Ranks) -> Work:
    """What there is time for. The first full runs say how long a step takes."""
    session.bar.reset(total=asked.computed / ranks.size)
    first, *_ = session.full_runs(asked.cases[: ranks.size])
    per_step = first.seconds / first.steps / ranks.size
    taken = asked if settings.minutes is None else asked.within(60 * settings.minutes / per_step)
    if taken is None:
        least = asked.least.computed * per_step
        raise Refused(
            f"--minutes {settings.minutes:g} is too short: a full run takes {duration(first.seconds)}, and the least "
            f"that says anything takes {duration(least)}. What is drawn is kept; go on with --minutes "
            f"{least / 60:.0f} or more, or with fewer --speedups."
        )
    session.bar.total = taken.computed / ranks.size
    session.bar.refresh()
    if ranks.speaks:
        session.bar.write(_estimate(asked, taken, first.seconds, per_step))
    return taken


def _estimate(asked: Work, taken: Work, seconds: float, per_step: float) -> str:
    less = ""
    if taken != asked:
        less = (
            f" For more there is no time: prompts are {len(taken.cases)} of {len(asked.cases)}, and of each speed-up "
            f"{taken.candidates} of {asked.candidates} settings are checked."
        )
    return f"A full run takes {duration(seconds)}: all takes about {duration(taken.computed * per_step)}.{less}"
