"""Which preset fits a run, and how the two differ, in words. Pure, no mlx."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mflux_teacache.pieces.data_files import spelt
from mflux_teacache.presets.preset import Preset, PresetKey

# An image of 1024x1024 pixels and one of 1024x1280 behave alike; one of 512x512 does not.
SAME_SIZE = 1.5

# A run with this many times the steps, or this share of them, is another run.
MOST_STEPS_APART = 2.0

# How far a difference takes a preset away from a run: what changes the weights most, then what changes the schedule.
_FAR = {"LoRAs": 8, "bits": 4, "guidance": 3, "scheduler": 3, "steps": 2, "size": 1}


class Near(NamedTuple):
    """A preset that can be used for a run.

    Attributes:
        differences: how it was made otherwise, each in words; empty for an exact one.
    """

    preset: Preset
    differences: tuple[str, ...]


def nearest(presets: Iterable[Preset], key: PresetKey) -> Near | None:
    """The preset that differs least from a run, of those that can be used for it; ``None`` if none can.

    What must be the same is the model, the pipeline, and whether it begins with an input image; and the steps must not
    differ by more than a factor of 2. Anything else is a difference that a user has to know.
    """
    latest_first = sorted(presets, key=lambda preset: preset.provenance.made, reverse=True)
    fitting = [preset for preset in latest_first if can_be_used(preset.key, key)]
    best = min(fitting, key=lambda preset: _rank(preset.key, key), default=None)  # among equals the latest
    return None if best is None else Near(best, tuple(differences(best.key, key).values()))


def can_be_used(made: PresetKey, run: PresetKey) -> bool:
    """Whether a preset says anything about a run."""
    same = all(getattr(made, name) == getattr(run, name) for name in ("model", "pipeline", "image_input"))
    bases = {made.base_model, run.base_model} - {None}
    apart = max(made.steps, run.steps) / min(made.steps, run.steps)
    return same and len(bases) < 2 and apart <= MOST_STEPS_APART


def differences(made: PresetKey, run: PresetKey) -> Mapping[str, str]:
    """In what a preset was made otherwise than a run is, each in words."""
    pixels = made.width * made.height, run.width * run.height
    found = {
        "LoRAs": (made.loras != run.loras, spelt(made.loras), spelt(run.loras)),
        "bits": (made.bits != run.bits, bits_of(made), bits_of(run)),
        "guidance": (made.guidance != run.guidance, f"guidance {made.guidance:g}", f"guidance {run.guidance:g}"),
        "scheduler": (_known_and_other(made.scheduler, run.scheduler), f"{made.scheduler}", f"{run.scheduler}"),
        "steps": (made.steps != run.steps, f"{made.steps} steps", f"{run.steps} steps"),
        "size": (
            max(pixels) > SAME_SIZE * min(pixels),
            f"{made.width}x{made.height} pixels",
            f"{run.width}x{run.height} pixels",
        ),
    }
    return {name: f"{there} in place of {here}" for name, (differs, there, here) in found.items() if differs}


def _known_and_other(one: str | None, other: str | None) -> bool:
    return None not in (one, other) and one != other


def bits_of(key: PresetKey) -> str:
    """Such as ``8 bits``."""
    return "no quantisation" if key.bits is None else f"{key.bits} bits"


def _rank(made: PresetKey, run: PresetKey) -> tuple[int, int]:
    return sum(_FAR[name] for name in differences(made, run)), abs(made.steps - run.steps)
