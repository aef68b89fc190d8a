"""How much there is to draw, and how much of it a limit in minutes leaves. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from mflux_teacache.bench.runs import Case

CANDIDATES = 4  # of each budget, that are checked by real runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is drawn.

    Attributes:
        cases: each is drawn once in full; two or more.
        steps: that a full run computes.
        budgets: computed steps, for each of which settings are looked for.
        candidates: settings of each budget that are checked.
    """

    cases: tuple[Case, ...]
    steps: int
    budgets: tuple[int, ...]
    candidates: int = CANDIDATES

    @property
    def fitted(self) -> tuple[Case, ...]:
        """What settings are fitted to: half of them, of three two."""
        return self.cases[: (len(self.cases) + 1) // 2]

    @property
    def checked(self) -> tuple[Case, ...]:
        """What they are checked on: the others."""
        return self.cases[len(self.fitted) :]

    @property
    def images(self) -> int:
        """All that are drawn: in full, with each candidate, and with fewer steps."""
        return len(self.cases) + len(self.checked) * (self.candidates + 1) * len(self.budgets)

    @property
    def computed(self) -> int:
        """The steps that all of them compute."""
        return len(self.cases) * self.steps + len(self.checked) * (self.candidates + 1) * sum(self.budgets)

    def within(self, most: float) -> Work | None:
        """As much of it as computes at most so many steps; ``None`` if that is too little for anything."""
        return next((less for less in self._less() if less.computed <= most), None)

    @property
    def least(self) -> Work:
        """The least that says anything."""
        return replace(self, cases=self.cases[:2], candidates=1)

    def _less(self) -> Iterator[Work]:
        """First with fewer candidates, as long as there are two to choose from, then with fewer prompts too."""
        for count, candidates in product(range(len(self.cases), 1, -1), range(self.candidates, 1, -1)):
            yield replace(self, cases=self.cases[:count], candidates=candidates)
        yield self.least
