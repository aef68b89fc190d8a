"""What is known of a full run: all that is needed to work out how far off a run with skipped steps would be. Pure.

A skipped step puts a weighted sum of computed outputs in the place of its own output. How far that is off depends on
the outputs by their inner products alone. So these are kept in place of the outputs: a few kilobytes for an image,
which go through JSON and from machine to machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mflux_teacache.records import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One full run.

    Attributes:
        target: what it was made with.
        sigmas: noise level of each active step; ``None`` where the family cannot tell.
        products: inner products of the outputs of every two active steps, with guidance applied.
        changes: what TeaCache's calibration is fitted to, from step to step; none where that cannot be measured.
        patterns: by setting of a strategy, the steps that it would have computed, C, and skipped, S.
        left_out: by setting, why it has no pattern.
        seconds: of the denoising loop.
    """

    target: Target
    sigmas: tuple[float, ...] | None
    products: tuple[tuple[float, ...], ...]
    changes: tuple[tuple[float, float], ...]
    patterns: Mapping[str, str]
    left_out: Mapping[str, str]
    seconds: float

    @property
    def steps(self) -> int:
        """Active steps."""
        return len(self.products)

    @property
    def problem(self) -> str:
        """Why nothing can be worked out from the run, in words; empty where it can."""
        if not all(math.isfinite(value) for row in self.products for value in row):
            return "its outputs are not finite"
        return "" if any(row[step] > 0 for step, row in enumerate(self.products)) else "its outputs are all zero"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def from_json(content: Mapping[str, Any]) -> Recorded:
    """What ``as_json`` gave.

    Raises:
        TypeError, ValueError, KeyError: it is something else, or nothing can be worked out from it.
    """
    sigmas = content["sigmas"]
    read: dict[str, Any] = {
        "target": Target(**{name: _tuple(value) for name, value in content["target"].items()}),
        "sigmas": None if sigmas is None else tuple(map(float, sigmas)),
        "seconds": float(content["seconds"]),
        **{name: tuple(tuple(map(float, row)) for row in content[name]) for name in ("products", "changes")},
    }
    recorded = Recorded(**{**content, **read})
    if recorded.problem:
        raise ValueError(recorded.problem)
    return recorded


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
