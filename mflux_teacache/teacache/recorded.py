"""From the changes of full runs to TeaCache's calibration, and what is to be said of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from typing import Any

import mlx.core as mx

from mflux_teacache.pieces.recorder import counted, made_on
from mflux_teacache.records import Target
from mflux_teacache.step import Body, Step
from mflux_teacache.teacache.calibration import BETTER, MOST_CHANGES, Calibration
from mflux_teacache.teacache.fitting import (
    DEGREE,
    Change,
    change,
    fit,
    observed,
    predicted,
    r_squared,
    r_squared_held_out,
)

# With fewer than four changes for each coefficient, a fit follows the noise of the images rather than the model.
FEWEST_CHANGES = 4 * (DEGREE + 1)

# How much a file keeps of the prompts. They only show of what kind they were, and a hundred long ones would not fit.
_MOST_PROMPTS = 64
_LONGEST_PROMPT = 1000

# The threshold in mean predicted changes. The sum stays below it for one skipped step, and exceeds it at the next one.
_EVERY_OTHER_STEP = 1.5


@dataclass(slots=True, eq=False)
class Observed:
    """The image in the making.

    Attributes:
        now: the arrays that were observed in the last step.
        changes: the changes of all steps so far, except the first.
        whole: no step was skipped.
        branches: the numbers of the last step's branches; ``None`` before the first step.
    """

    now: tuple[mx.array, ...] = ()
    changes: list[Change] = field(default_factory=list)
    whole: bool = True
    branches: tuple[int, ...] | None = None

    @property
    def steps(self) -> int:
        return len(self.changes) + 1

    @property
    def problem(self) -> str | None:
        if not self.whole:
            return "a step was skipped, and what is reused does not change"
        if not all(math.isfinite(value) for change in self.changes for value in change):
            return "a signal or residual has another shape than the step before's, or is zero or not finite"
        return None

    def measure(self, step: Step, body: Body) -> None:
        self.whole &= body.computed
        if not self.whole:  # what is reused says nothing of the model, and where outputs are, there is no residual
            if step.index:
                self.changes.append(Change(math.nan, math.nan))
            return
        before, self.now = self.now, observed(step, body)
        branches_before, self.branches = self.branches, tuple(branch.index for branch in body.branches)
        if before:
            # Other branches, as after guidance has ended, are no change of the model: NaN leaves the image out.
            same = branches_before == self.branches
            self.changes.append(change(step, self.now, before) if same else Change(math.nan, math.nan))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An image that counts.

    Attributes:
        target: what it was made with.
        changes: one or more.
    """

    target: Target
    prompt: str
    changes: tuple[Change, ...]


def calibration_of(runs: Sequence[Run], made_by: str) -> Calibration:
    """The calibration of runs of one model, which have changes enough to be fitted to.

    Its threshold is a place to start from and no judgement.

    Args:
        made_by: the name of what has recorded them.
    """
    changes = [change for run in runs for change in run.changes]
    polynomial = fit(changes)
    signals = [change.signal for change in changes]
    mean = sum(predicted(polynomial, changes)) / len(changes)
    held_out = _rounded(r_squared_held_out([run.changes for run in runs])) if len(runs) > 1 else None
    predicts = "" if held_out is None else "; r2_held_out predicts each from the others"
    return Calibration(
        **made_on(runs[0].target, made_by),
        **_conditions(runs[0].target),
        signal="modulated_input",
        rows="target",
        polynomial=polynomial,
        range=(min(signals), max(signals)),
        threshold=float(f"{max(0.0, _EVERY_OTHER_STEP * mean):.3g}"),
        prompts=_kept(run.prompt for run in runs),
        mflux_version=version("mflux"),
        date=date.today().isoformat(),
        changes=tuple((_short(each.signal), _short(each.residual)) for each in changes[:MOST_CHANGES]),
        r2=_rounded(r_squared(polynomial, changes)),
        r2_held_out=held_out,
        note=f"Fitted to {counted(len(runs))}{predicts}. The threshold skips about every other step: look at "
        f"--plugin shadow before relying on it.",
    )


def _conditions(target: Target) -> Mapping[str, Any]:
    """Under which the runs were made."""
    return {
        "steps": target.steps,
        "guidance": target.guidance if target.guidance is not None and math.isfinite(target.guidance) else None,
        "quantize": target.quantize or 16,
        "size": f"{target.width}x{target.height}",
        "distilled": target.distilled,
    }


def _kept(prompts: Iterable[str]) -> tuple[str, ...]:
    """The first of the prompts that are not blank, each once."""
    spoken = (prompt.strip()[:_LONGEST_PROMPT] for prompt in prompts)
    return tuple(dict.fromkeys(filter(None, spoken)))[:_MOST_PROMPTS]


def told(found: Calibration, images: int) -> str:
    """What the file holds, and how good that is."""
    fitted = f"fitted to {counted(images)}"
    if found.r2 is None:
        return f"{fitted}, whose changes are all alike: it says nothing of others"
    more = ""
    if found.is_poor:
        more = f". {BETTER}"
    elif images == 1:
        more = ". More images in one run show how it does on others"
    return f"{fitted}: it {found.fit_in_words}{more}"


def _rounded(r2: float) -> float | None:
    """R2 to four digits; ``None`` if all changes were alike, so that there was nothing to explain."""
    return round(r2, 4) if math.isfinite(r2) else None


def _short(change: float) -> float:
    return float(f"{change:.5g}")
