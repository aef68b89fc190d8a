"""The plan of a run that computes so many steps: from the lists of its model, or by the rule for models without."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from mflux_teacache.errors import Refused
from mflux_teacache.pieces.patterns import even, letters
from mflux_teacache.strategies.schedule.lists import Listed, Lists
from mflux_teacache.strategies.schedule.plans import LEAST, carried_over

EVEN = "even"  # what the plan of a model without lists is called


class Run(NamedTuple):
    """What a plan is made for.

    Attributes:
        active: steps that run.
        whole: steps of the whole schedule, of which image-to-image runs the end.
        sigmas: noise level of each active step; ``None`` where they are not known.
    """

    active: int
    whole: int
    sigmas: Sequence[float] | None = None


class Computed(NamedTuple):
    """How many steps are computed, and the option that says so, for messages."""

    steps: int
    option: str


class Plan(NamedTuple):
    """Which steps are computed.

    Attributes:
        letters: one per step of the run: C computed, S skipped.
        values: to record with an image: where the plan is from.
    """

    letters: str
    values: Mapping[str, Any] = {}


def budgeted(run: Run, computed: Computed, lists: Lists | None) -> Plan:
    """The plan of a run.

    Args:
        lists: ``None`` = there are none for its model.

    Raises:
        Refused: everything would be computed, or less than the first step and the last.
    """
    refuse_unplanable(computed, run.active, "--schedule-max-computed with such a number, or a --schedule-speedup")
    if lists is None:
        return Plan(letters(even(run.active, computed.steps), run.active), {"plan": EVEN})
    steps, used = _from_lists(lists.lists, run, computed.steps)
    sources = [{"list": str(listed), "source": listed.source} for listed in used]
    return Plan(letters(steps, run.active), {"plan": lists.name, "plan_lists": sources})


def refuse_unplanable(computed: Computed, total: int, otherwise: str) -> None:
    """Raise ``Refused`` if no plan computes so many steps of a run of ``total``.

    Args:
        otherwise: the options to use instead, the last of which is a speed-up.
    """
    if LEAST <= computed.steps < total:
        return
    steps = f"{total} active {'step' if total == 1 else 'steps'} (image-to-image runs fewer than --steps says)"
    if total <= LEAST:
        raise Refused(
            f"{computed.option} leaves nothing to skip of {steps}: a plan computes the first and the last. "
            f"Use more steps, or run without plugins."
        )
    raise Refused(
        f"{computed.option} asks to compute {computed.steps} of {steps}; a plan computes from {LEAST}, the first and "
        f"the last, to {total - 1}. Use {otherwise} above 1 and up to "
        f"{math.floor(100 * total / LEAST) / 100:g}."
    )


def _from_lists(lists: Sequence[Listed], run: Run, computed: int) -> tuple[tuple[int, ...], list[Listed]]:
    """The steps that a run computes, and the lists that they are from."""
    by_sigma = fall(run.sigmas) and all(listed.levels is not None for listed in lists)
    shares = [1 - step / (run.whole - 1) for step in range(run.whole - run.active, run.whole)]
    places = [listed.places(listed.computed, by_sigma=by_sigma) for listed in lists]
    # Beyond the largest list there is one that nobody needs to publish: every step is computed.
    every = lists[-1].places(range(lists[-1].steps), by_sigma=by_sigma)
    steps, used = carried_over([*places, every], run.sigmas if by_sigma and run.sigmas else shares, computed)
    return steps, [lists[number] for number in used if number < len(lists)]


def fall(sigmas: Sequence[float] | None) -> bool:
    """Whether there are any, from more noise to less: a scheduler of somebody's own may have others."""
    known = sigmas or ()
    return bool(known) and all(map(math.isfinite, known)) and all(later < level for level, later in pairwise(known))
