"""What is run: settings, and images as plain values that go through JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeVar

from mflux_teacache.errors import is_interruption

# Names of variants, beside those of plugins and other packages. COMPILED goes with others.
PLAIN = "plain"
COMPUTED = "all computed"
SKIPPING = "skipping"
COMPILED = ", blocks compiled"

# In place of a setting, for the full runs themselves.
FULL = "every step"

# The series of the images that settings are held against, beside their full runs.
FEWER_STEPS = "fewer steps"

# How a reused residual is made, by the options' order.
FORECASTS = {0: "held", 1: "linear", 2: "quadratic"}

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Setting:
    """A plugin and its options, as keywords of ``attach``.

    Attributes:
        forecast: the order in which what is reused is extrapolated, by the options or by default; 0 = held, or the
            plugin knows no such thing.
        reuse: what is reused, likewise: ``body`` or ``output``; ``None`` = the plugin knows no such thing.
    """

    plugin: str
    options: Mapping[str, Any] = field(default_factory=dict)
    forecast: int = 0
    reuse: str | None = None

    def __str__(self) -> str:
        return " ".join([self.plugin, *(f"{name}={value}" for name, value in self.options.items())])

    @property
    def series(self) -> str:
        """Strategy, what it reuses and forecast: the other options say how much is skipped. A line in the picture."""
        reuse = self.reuse if self.reuse == "output" else None  # the body is what is reused as published
        forecast = FORECASTS[self.forecast] if self.forecast else None
        return ", ".join(filter(None, (self.plugin, reuse, forecast)))


@dataclass(frozen=True, slots=True)
class FewerSteps:
    """What a setting has to beat: the same sampler, asked for fewer steps, all of which are computed.

    Attributes:
        computed: how many are run.
        asked: ``num_inference_steps``; more than are run from an input image.
    """

    computed: int
    asked: int
    forecast: ClassVar[int] = 0
    reuse: ClassVar[str | None] = None
    series: ClassVar[str] = FEWER_STEPS

    def __str__(self) -> str:
        return f"{FEWER_STEPS}: {self.computed}"


Row = Setting | FewerSteps  # of the table: what is drawn for each case, and compared with its full run


class Done(NamedTuple):
    """What was done in an image.

    Attributes:
        pattern: a letter for each step, C computed, S skipped, P partly reused.
        computed: how many steps' worth of work was done; a partly reused step counts for the share of its branches.
        note: where a plugin that decides skipped nothing: why, and what to try.
        told: what a plugin that chooses its setting has chosen, such as ``auto``.
    """

    pattern: str
    computed: float
    note: str | None = None
    told: str | None = None


def by_letters(pattern: str) -> Done:
    """What was done in an image of which there is no more than the letters."""
    return Done(pattern, pattern.count("C"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the work.

    Attributes:
        seconds: wall-clock time.
        peak_bytes: the most memory that MLX held in it.
        active_bytes: what MLX held at its end.
    """

    seconds: float
    peak_bytes: int
    active_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRun:
    """One image, timed.

    Attributes:
        variant: what was attached to the model.
        repetition: from 0; the runs of one repetition came right after each other.
        pattern, computed, note, told: as in ``Done``.
        encode: from the call of ``generate_image`` until prompt and latents were evaluated.
        loop: the denoising loop.
        decode: from the loop's end until ``generate_image`` returned.
        step_seconds: of each step; they add up to the loop.
        finite: the final latents hold no NaN and no infinity.
    """

    variant: str
    repetition: int
    pattern: str
    computed: float
    encode: Phase
    loop: Phase
    decode: Phase
    step_seconds: tuple[float, ...]
    finite: bool
    note: str | None = None
    told: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """What is drawn once in full, and once with each setting."""

    prompt: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRun:
    """One image of a setting, or of fewer steps, compared with the full run of its case.

    Attributes:
        setting: as the row is spelt.
        pattern, computed, note, told: as in ``Done``.
        squared_error: mean over pixels and channels, in squared levels of 8 bits.
        ssim: structural similarity.
    """

    setting: str
    case: Case
    pattern: str
    computed: float
    squared_error: float
    ssim: float
    note: str | None = None
    told: str | None = None


def whole(batches: Iterable[Sequence[R]]) -> tuple[tuple[R, ...], bool]:
    """What is in batches that were made whole, and whether Ctrl-C ended them after at least one.

    Raises:
        KeyboardInterrupt: there is no whole one; or what mflux makes of it.
    """
    made: list[R] = []
    try:
        for batch in batches:
            made += batch
    except BaseException as error:
        if not made or not is_interruption(error):
            raise
        return tuple(made), True
    return tuple(made), False
