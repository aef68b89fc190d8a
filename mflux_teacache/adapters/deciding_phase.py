"""The run that is decided on its way: mflux's forward pauses at block 0 until residuals are chosen, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from mflux_teacache.adapters.block_call import BlockCall
from mflux_teacache.adapters.probe_phase import Carry, Probe, look, with_first_block
from mflux_teacache.adapters.run_phase import Dtypes, RunPhase
from mflux_teacache.family import Family


class Pause:
    """Block 0 of a step's first branch, which mflux has called and which has not run yet.

    It can be probed as long as it is kept, for it has copies of what mflux's forward may change in place.
    """

    def __init__(self, call: BlockCall, family: Family) -> None:
        self._call = call.copy()
        self._family = family
        self._image_rows = call.image_rows()
        self._found: Probe | None = None

    def probe(self, *, first_block: bool) -> Probe:
        """Args:
        first_block: run block 0 too.
        """
        if self._found is None:
            entry = self._call.streams(self._image_rows).copy()
            self._found = look(self._call, entry, self._image_rows, self._family)
        if first_block and self._found.first is None:
            self._found = with_first_block(self._found, self._call, self._image_rows)
        return self._found

    def carry(self) -> Carry | None:
        """What the run need not compute any more: block 0, if its output was read."""
        return None if self._found is None or self._found.first is None else self._found.carry()


Decide = Callable[[Pause], Sequence[mx.array | None]]


class DecidingPhase(RunPhase):
    """Args:
    decide: called once, at block 0 of the first branch. Branch i reuses the i-th of the residuals that it returns.
    """

    def __init__(self, family: Family, residual_after: int, decide: Decide, dtypes: Dtypes | None) -> None:
        super().__init__(family, residual_after, (), None, dtypes)
        self._decide: Decide | None = decide
        self._postponed: list[tuple[Any, ...]] = []

    def at(self, call: BlockCall) -> Any:
        if self._decide is None:
            return super().at(call)
        pause = Pause(call, self._family)
        self._residuals = self._decide(pause)
        self._carry = pause.carry()
        self._decide = None
        returned = super().at(call)
        while self._postponed:
            self.evaluate(*self._postponed.pop(0))
        return returned

    def evaluate(self, *arrays: Any) -> None:
        if self._decide is None:
            super().evaluate(*arrays)
        else:  # whether the branch will compute is not known yet
            self._postponed.append(arrays)
