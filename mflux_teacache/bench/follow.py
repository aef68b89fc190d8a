"""A strategy that skips the steps it is told to, at the full cost of TeaCache: for measuring, on public hooks only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.pieces.cache import ResidualCache
from mflux_teacache.records import Body, Decision, Step

if TYPE_CHECKING:
    import mlx.core as mx


class FollowPattern:
    """Reads TeaCache's signal and waits for its change in every step, as TeaCache does, and then follows a pattern.

    Args:
        pattern: one letter per step, C computed, S skipped.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._previous: mx.array | None = None
        self._cache = ResidualCache()

    @hookimpl
    def mflux_generation_start(self) -> None:
        self._forget()

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        signal = step.target_part(step.modulated_input)
        change = None if self._previous is None else step.relative_l1(signal, self._previous)
        self._previous = signal
        if self._pattern[step.index] == "S":
            return Decision.reuse(self._cache.residuals(step.sigma), change=change)
        return Decision.compute(change=change)

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        self._cache.store(step.sigma, body)

    @hookimpl
    def mflux_generation_end(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._previous = None
        self._cache.clear()
