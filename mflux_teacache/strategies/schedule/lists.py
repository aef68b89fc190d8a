"""Published lists of computed steps: data files with their provenance, one for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.data_files import DataFiles, Figures
from mflux_teacache.pieces.option_types import (
    Allowed,
    check_fields,
    is_amount,
    is_count_from,
    is_list_of,
    is_number,
    tests_of,
    whole_number_from,
)
from mflux_teacache.records import Target
from mflux_teacache.spelling import brief
from mflux_teacache.strategies.schedule.plans import shifted

_MOST_STEPS = 1000  # of the run that a list was made for
_LARGEST_SHIFT = 10  # published ones are up to 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The computed steps of one budget.

    Attributes:
        computed: the computed steps, rising, from 0 to the last.
        steps: of the run that they were made for.
        shift: time shift of that run's noise levels, as ``plans.shifted`` has it; ``None`` where that is not known,
            so that the list is carried over by the share of the steps.
        terminal: what its last noise level is stretched to.
        sigmas: the noise level of each step of that run, where they are known one by one.
        size: of the images, such as ``1024x1024``; the shift of a model depends on it.
        search: how the list was found.
        reuse: what skipped steps reused as it was found, such as ``held residual`` or ``mean velocity``.
        source: who published it, and where.
        license: SPDX expression of the source.
    """

    computed: tuple[int, ...]
    steps: int
    shift: float | None = None
    terminal: float | None = None
    sigmas: tuple[float, ...] | None = None
    size: str | None = None
    search: str | None = None
    reuse: str | None = None
    source: str | None = None
    license: str | None = None

    def __str__(self) -> str:
        return f"{len(self.computed)} of {self.steps}"

    @property
    def levels(self) -> Sequence[float] | None:
        """The noise level of each step of its run, falling; ``None`` where they are not known."""
        if self.sigmas is not None:
            return self.sigmas
        return None if self.shift is None else shifted(self.steps, self.shift, self.terminal)

    def places(self, chosen: Sequence[int], *, by_sigma: bool) -> list[float]:
        """Where some of its steps lie, falling: their noise levels, or what share of the steps is left."""
        if by_sigma:
            levels = self.levels
            assert levels is not None, "they are asked for where it has them"
            return [levels[step] for step in chosen]
        return [1 - step / (self.steps - 1) for step in chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists(Figures):
    """The lists of one model. A file has the same fields and ``"schema": 1``.

    Attributes:
        lists: one for each budget, the budgets rising.
    """

    lists: tuple[Listed, ...]


_ALLOWED: Mapping[str, Allowed] = {
    "computed": Allowed(is_list_of(is_count_from(0), at_least=2), "a list of steps from 0, at least two"),
    "steps": whole_number_from(3, _MOST_STEPS),
    "shift": Allowed(
        lambda value: is_number(value) and abs(value) <= _LARGEST_SHIFT,
        f"a number from -{_LARGEST_SHIFT} to {_LARGEST_SHIFT}",
    ),
    "sigmas": Allowed(is_list_of(is_amount, at_most=_MOST_STEPS), "a list of noise levels"),
    "terminal": Allowed(lambda value: is_number(value) and 0 < value < 1, "a number between 0 and 1"),
}
_TESTS = tests_of(Listed, _ALLOWED)


def _read_lists(data: dict[str, Any], what: str) -> dict[str, Any]:
    """The objects in a file's ``lists`` as records; raises ``OptionError``."""
    lists = [_listed(entry, f"{what}, list {number},") for number, entry in enumerate(data["lists"], 1)]
    budgets = [len(listed.computed) for listed in lists]
    if any(later <= earlier for earlier, later in pairwise(budgets)):
        raise OptionError(
            f"{what} has lists of {', '.join(map(str, budgets))} computed steps; the numbers must rise from list to "
            f"list. Sort them, and keep one list for each number."
        )
    return {"lists": tuple(lists)}


def _listed(entry: dict[str, Any], what: str) -> Listed:
    check_fields(Listed, entry, what, _TESTS)
    computed, last = tuple(entry["computed"]), entry["steps"] - 1
    if computed != tuple(sorted(set(computed))) or (computed[0], computed[-1]) != (0, last):
        raise OptionError(
            f"{what} has computed = {brief(entry['computed'])}; they must rise, begin with 0 and end with {last}, the "
            f"last of its {entry['steps']} steps: both ends of a run are always computed."
        )
    sigmas = None if entry.get("sigmas") is None else tuple(entry["sigmas"])
    if sigmas is not None and (len(sigmas) != entry["steps"] or list(sigmas) != sorted(set(sigmas), reverse=True)):
        raise OptionError(
            f"{what} has sigmas = {brief(entry['sigmas'])}; they must fall, one for each of its {entry['steps']} steps."
        )
    return Listed(**{**entry, "computed": computed, "sigmas": sigmas})


FILES = DataFiles(
    strategy="The schedule",
    noun="plan",
    option="--schedule-plan",
    otherwise="--schedule-plan with a name or a file of your own",
    folder=files("mflux_teacache.strategies.schedule").joinpath("data"),
    record=Lists,
    allowed={
        "lists": Allowed(
            is_list_of(lambda entry: isinstance(entry, dict), at_least=1), "a list of objects, at least one"
        )
    },
    derive=_read_lists,
)


def shipped() -> Mapping[str, Lists]:
    """Every file of this package, by name."""
    return FILES.shipped


def of_model(target: Target) -> Lists | None:
    """The lists nearest to a target; ``None`` where no file is for its model."""
    known = any(lists.distance(target) is not None for lists in FILES.shipped.values())
    return FILES.nearest(target) if known else None
