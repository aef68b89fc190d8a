"""How much there is to draw, and how much of it a limit in minutes leaves. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from mflux_teacache.bench.runs import Case

CANDIDATES = 3  # of each budget, that are checked by real runs

_FITTED = 2 / 3  # of the prompts; the others check


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is drawn.

    Attributes:
        cases: each is drawn once in full; two or more.
        steps: that a full run computes.
        budgets: computed steps, for each of which settings are looked for.
        candidates: settings of each budget that are checked.
        trials: images that are drawn to find out which errors matter, at the middle budget.
    """

    cases: tuple[Case, ...]
    steps: int
    budgets: tuple[int, ...]
    candidates: int = CANDIDATES
    trials: int = 0

    @property
    def fitted(self) -> tuple[Case, ...]:
        """What settings are fitted to; at least one."""
        return self.cases[: min(max(1, round(_FITTED * len(self.cases))), len(self.cases) - 1)]

    @property
    def checked(self) -> tuple[Case, ...]:
        """What they are checked on: the others."""
        return self.cases[len(self.fitted) :]

    @property
    def middle(self) -> int:
        """The budget in the middle."""
        return sorted(self.budgets)[len(self.budgets) // 2]

    @property
    def images(self) -> int:
        """All that are drawn: in full, as trials, with each candidate, and with fewer steps."""
        return len(self.cases) + self.trials + len(self.checked) * (self.candidates + 1) * len(self.budgets)

    @property
    def computed(self) -> int:
        """The steps that all of them compute."""
        checks = len(self.checked) * (self.candidates + 1) * sum(self.budgets)
        return len(self.cases) * self.steps + self.trials * self.middle + checks

    def within(self, most: float) -> Work | None:
        """As much of it as computes at most so many steps; ``None`` if that is too little for anything."""
        return next((less for less in self._less() if less.computed <= most), None)

    @property
    def least(self) -> Work:
        """The least that says anything."""
        return list(self._less())[-1]

    def _less(self) -> Iterator[Work]:
        """First with fewer candidates, then with fewer prompts too."""
        for count, candidates in product(range(len(self.cases), 1, -1), range(self.candidates, 0, -1)):
            yield Work(
                cases=self.cases[:count],
                steps=self.steps,
                budgets=self.budgets,
                candidates=candidates,
                trials=self.trials,
            )
