"""The plugin ``magcache-record`` measures full runs, and writes the table that ``magcache`` takes.

``--plugin magcache-record --magcache-record-output mine.json`` beside any model, then
``--plugin magcache --magcache-table mine.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import mlx.core as mx

from mflux_teacache.about import About
from mflux_teacache.pieces.recorder import Recording, counted
from mflux_teacache.records import Generation
from mflux_teacache.step import Body, Step
from mflux_teacache.strategies.magcache.table import FILES, Table

# The defaults of diffusers' MagCacheConfig, for models without a recommendation.
THRESHOLD, SKIP_FIRST, MAX_SKIPS = 0.06, 0.2, 3


@dataclass(slots=True, eq=False)
class _Image:
    """The image in the making.

    Attributes:
        residuals: the last step's residuals, by the numbers of the guidance branches.
        ratios: one per step so far.
    """

    residuals: dict[int, mx.array] = field(default_factory=dict)
    ratios: list[float] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return len(self.ratios)

    @property
    def problem(self) -> str | None:
        if all(math.isfinite(ratio) and ratio > 0 for ratio in self.ratios):
            return None
        return "a step was skipped, or its residual has another shape than the step before's, or is zero or not finite"

    def measure(self, step: Step, body: Body) -> None:
        # What is reused says nothing of the model, and where outputs are, there is no residual. NaN leaves the image
        # out.
        if not body.computed:
            self.ratios.append(math.nan)
            return
        # By the branches' numbers, since mflux may end guidance before the run ends.
        now = {branch.index: step.target_part(branch.residual) for branch in body.branches}
        before, self.residuals = self.residuals, now
        self.ratios.append(1.0 if step.index == 0 else _ratio(now, before))


class MagCacheRecord(Recording[_Image, tuple[float, ...]]):
    """Observes full runs, and after each image writes the mean over the images so far."""

    name = "magcache-record"
    about = About(
        kind="recorder",
        description="Measures full runs, and writes the table that magcache takes.",
        keeps_images_apart=True,
    )
    default = "magcache-table.json"
    what = "the mean over"
    noun = "table"
    image = _Image
    files = FILES

    def run_of(self, image: _Image, generation: Generation) -> tuple[float, ...]:
        return tuple(image.ratios)

    def write(self, runs: Sequence[tuple[float, ...]]) -> None:
        apart = f"{_apart(runs):.3g} apart in a step"
        table = Table(
            **self.made_with(),
            ratios=tuple(float(f"{sum(step) / len(step):.6g}") for step in zip(*runs, strict=True)),
            threshold=THRESHOLD,
            skip_first=SKIP_FIRST,
            max_skips=MAX_SKIPS,
            note=f"Mean of {len(runs)} images, which are at most {apart}. "
            f"Threshold, window and cap are general defaults.",
        )
        told = f"the mean of {counted(len(runs))} of {len(runs[0])} steps, which are at most {apart}"
        self.write_file(table, told)


def _ratio(now: Mapping[int, mx.array], before: Mapping[int, mx.array]) -> float:
    """The residual's norm over that of the step before, averaged over tokens and branches; NaN if shapes differ."""
    if {number: residual.shape for number, residual in now.items()} != {
        number: residual.shape for number, residual in before.items()
    }:
        return math.nan
    ratios = [_norms(new) / _norms(before[number]) for number, new in now.items()]
    return mx.stack([ratio.mean() for ratio in ratios]).mean().item()  # type: ignore[return-value]


def _norms(residual: mx.array) -> mx.array:
    # In float32, since squares of large values overflow float16.
    return mx.linalg.norm(residual.astype(mx.float32), axis=-1)


def _apart(runs: Sequence[Sequence[float]]) -> float:
    """The largest difference between two runs in any step."""
    steps = zip(*runs, strict=True)
    return max((max(step) - min(step) for step in steps), default=0.0)
