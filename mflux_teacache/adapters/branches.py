"""Which guidance branches a prediction runs, so that each reuses only what it computed itself.

A loop need not run the same branches in every step: guidance may end before the run does, or a prompt may be asked for
in every other step. So a branch is recognised by what mflux asks its prediction for, and not by its place in the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from mflux_teacache.adapters.entry_check import Given
from mflux_teacache.adapters.run_phase import Branch, Dtypes
from mflux_teacache.family import Family

# More than the predictions of any loop that comes back to them. A loop with a new prompt in every step would else keep
# all of its prompts.
_KEPT = 16


@dataclass(slots=True, eq=False)
class Prediction:
    """A call for a prediction that mflux makes in one step after the other.

    Attributes:
        asked: what it is asked for, of what stays the same from step to step.
        branches: the numbers of its branches in the image, in the order in which it runs them; empty until it has run.
        dtypes: of the image stream when a branch was last computed; ``None`` until then.
        in_full: the model has taken in its reference images, so that later calls need not bring them.
    """

    asked: dict[str, Any]
    branches: list[int] = field(default_factory=list)
    dtypes: Dtypes | None = None
    in_full: bool = False

    def is_asked_again(self, asked: Mapping[str, Any]) -> bool:
        """Whether this is what it was asked for the last time."""
        if self.in_full:
            asked = {name: value for name, value in asked.items() if value is not None}
        elif asked.keys() != self.asked.keys():
            return False
        return all(name in self.asked and _same(self.asked[name], value) for name, value in asked.items())


class Branches:
    """The branches of one image, which are numbered in the order in which they first run."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._known: list[Prediction] = []
        self._made: list[Prediction] = []  # in this step
        self._of_the_step: dict[tuple[str, ...], set[str]] = {}
        self._count = 0

    def end_step(self) -> None:
        """The predictions that follow belong to another step."""
        self._made.clear()

    def prediction(self, arguments: Mapping[str, Any], asked: Mapping[str, Any] | None = None) -> Prediction:
        """The one that is asked for; a new one if it was never made before, or in this step already.

        Args:
            arguments: of mflux's call.
            asked: what tells the call from others; ``None`` = its arguments.
        """
        asked = self._telling(arguments, arguments if asked is None else asked)
        for known in self._known:
            if known not in self._made and known.is_asked_again(asked):
                break
        else:
            known = Prediction({})
            self._known = [*self._known[1 - _KEPT :], known]
        known.asked = asked
        self._made.append(known)
        return known

    def _telling(self, arguments: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        """What tells one prediction from another: without latents, noise level, and numbers such as guidance."""
        names = tuple(arguments)
        if names not in self._of_the_step:
            self._of_the_step[names] = _of_the_step(arguments, self._family)
        left_out = self._of_the_step[names]
        return {name: value for name, value in asked.items() if name not in left_out and not _is_number(value)}

    def numbered(self, prediction: Prediction, ran: Sequence[Branch]) -> dict[int, Branch]:
        """Take in what a prediction did; returns its branches by their numbers, in the order in which they ran."""
        while len(prediction.branches) < len(ran):
            prediction.branches.append(self._count)
            self._count += 1
        for branch in ran:
            if not branch.reused:
                prediction.dtypes = Dtypes(branch.input.dtype, branch.output.dtype)
        prediction.in_full = any(branch.in_full for branch in ran)
        return dict(zip(prediction.branches, ran, strict=False))


class _Noting(Given):
    """Arguments that note which of them are read."""

    def __init__(self, arguments: Mapping[str, Any], family: Family) -> None:
        super().__init__(arguments, "mflux's call for a prediction", family)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


def _of_the_step(arguments: Mapping[str, Any], family: Family) -> set[str]:
    """The names of what differs from step to step in the same branch."""
    noting = _Noting(arguments, family)
    noting.latents()
    family.sigma(noting)
    return {*noting.read, *family.made_anew}


def _is_number(value: Any) -> bool:
    """Also an array of one for each image of a batch, such as a time."""
    if isinstance(value, mx.array):
        return value.ndim < 2
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    """The same object, or plain values that are equal."""
    return one is other or (_is_plain(one) and _is_plain(other) and one == other)


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, str | int | float)
