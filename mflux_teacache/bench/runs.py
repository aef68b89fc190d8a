"""What was measured, as plain values that go through JSON. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


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


class Done(NamedTuple):
    """What was done in an image; as in ``Run``."""

    pattern: str
    note: str | None = None


# Tells of the latest image that was made with what is attached.
LastImage = Callable[[], Done]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One image.

    Attributes:
        variant: what was attached to the model.
        repetition: from 0; the runs of one repetition came right after each other.
        pattern: what was done in each step, C computed, S skipped.
        encode: from the call of ``generate_image`` until prompt and latents were evaluated.
        loop: the denoising loop.
        decode: from the loop's end until ``generate_image`` returned.
        step_seconds: of each step; they add up to the loop.
        finite: the final latents hold no NaN and no infinity.
        note: where a plugin that decides skipped nothing: why, and what to try.
    """

    variant: str
    repetition: int
    pattern: str
    encode: Phase
    loop: Phase
    decode: Phase
    step_seconds: tuple[float, ...]
    finite: bool
    note: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Run:
        phases = {name: Phase(**content[name]) for name in ("encode", "loop", "decode")}
        return cls(**{**content, **phases, "step_seconds": tuple(content["step_seconds"])})
