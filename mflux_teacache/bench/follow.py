"""A strategy that skips the steps it is told to, at the full cost of TeaCache: for measuring."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from mflux_teacache.pieces.controller import Bounds, unlimited
from mflux_teacache.pieces.strategy import COMMON, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import Generation, Target
from mflux_teacache.step import Step

if TYPE_CHECKING:
    import mlx.core as mx


class FollowPattern(Strategy):
    """Reads TeaCache's signal and waits for its change in every step, as TeaCache does, and then follows a pattern."""

    name = "followpattern"
    title = "The bench"
    about = replace(COMMON, windows=(), cap=None)

    _pattern: str
    _previous: mx.array | None = None

    @classmethod
    def add_options(cls, group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--followpattern-pattern", required=True, help="a letter for each step: C computed, S skipped"
        )

    def names_steps(self, options: argparse.Namespace) -> bool:
        return True

    def check(self, options: argparse.Namespace, target: Target) -> None:
        """Refuse nothing: a pattern without skips is one to follow as well."""

    def attach(self, options: argparse.Namespace, target: Target) -> None:
        self._pattern = options.pattern

    def bounds(self, generation: Generation) -> Bounds:
        return unlimited(generation.active_steps)

    def judge(self, step: Step) -> Verdict:
        signal, before = step.target_part(step.modulated_input), self._previous
        self._previous = signal
        change = None if before is None else step.relative_l1(signal, before)
        skipped = self._pattern[step.index] == "S"
        return Verdict(kind="reuse" if skipped else "compute", reason="", change=change)

    def forget(self) -> None:
        self._previous = None
