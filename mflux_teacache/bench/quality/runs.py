"""What was run: settings, images, refusals. Plain values; no mlx, no mflux."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# How a reused residual is made, by the options' order.
FORECASTS = {0: "held", 1: "linear", 2: "quadratic"}


@dataclass(frozen=True, slots=True)
class Setting:
    """A plugin and its options, as keywords of ``attach``.

    Attributes:
        forecast: the order in which residuals are extrapolated, by the options or by default; 0 = held, or the plugin
            knows no such thing.
    """

    plugin: str
    options: Mapping[str, Any] = field(default_factory=dict)
    forecast: int = 0

    def __str__(self) -> str:
        return " ".join([self.plugin, *(f"{name}={value}" for name, value in self.options.items())])


@dataclass(frozen=True, slots=True)
class Case:
    """What is drawn once in full, and once with each setting."""

    prompt: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One image of a setting, compared with the full run of its case.

    Attributes:
        pattern: a letter for each step, C computed, S skipped.
        squared_error: mean over pixels and channels, in squared levels of 8 bits.
        ssim: structural similarity.
    """

    setting: str
    case: Case
    pattern: str
    squared_error: float
    ssim: float

    @property
    def computed(self) -> int:
        return len(self.pattern) - self.pattern.count("S")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A setting that was turned down, and why."""

    setting: str
    reason: str
