"""Draws the scenes that the demo's model is trained on: random ones with their captions' tokens (PyTorch).

Everything is batched and runs on the device of the generator that it is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mflux_teacache.demo.vocabulary import EMPTY_PROMPT, KINDS, MAX_OBJECTS, WORDS

SIDE = 128

# All in units of which the picture's side has 2. Places are 40 pixels apart.
_PLACES = 40 * 2 / SIDE
# What no caption says, and so the noise decides: in each direction one of these far from the middle of the place.
# A choice of a few, and no turning: where a model so small has to settle on a number, outlines come out ragged.
SHIFTS = tuple(pixels * 2 / SIDE for pixels in (-4, 0, 4))
_RADIUS = {"small": 0.17, "large": 0.27}
# Stripes and dots 8 pixels apart, edges of 1.5: the codec's 128 channels for 16x16 pixels hold this at 40 dB.
_PERIOD = 8 * 2 / SIDE
_EDGE = 1.5 * 2 / SIDE
_PATTERN_DEPTH = 0.6
_RGB = {
    "red": (220, 40, 40),
    "green": (50, 170, 70),
    "blue": (45, 80, 210),
    "yellow": (240, 205, 50),
    "orange": (240, 140, 40),
    "purple": (140, 60, 180),
    "white": (240, 240, 240),
    "black": (25, 25, 30),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """A batch. Words are indices into ``vocabulary.KINDS``.

    Attributes:
        words: by kind, ``(batch, 3)``.
        ground: its colour, ``(batch,)``.
        count: how many of the three objects there are, ``(batch,)``.
        shift: of each object from the middle of its place, ``(batch, 3, 2)``, x then y.
    """

    words: dict[str, Tensor]
    ground: Tensor
    count: Tensor
    shift: Tensor


def sample(batch: int, generator: torch.Generator) -> Scenes:
    """Random scenes that ``vocabulary`` accepts: one object to a place, none in the colour of the ground."""
    device = generator.device
    objects = (batch, MAX_OBJECTS)

    def choose(kind: str, shape: tuple[int, ...] = objects) -> Tensor:
        return torch.randint(len(KINDS[kind]), shape, generator=generator, device=device)

    columns = len(KINDS["column"])
    places = torch.rand(batch, len(KINDS["row"]) * columns, generator=generator, device=device).argsort(1)
    places = places[:, :MAX_OBJECTS]
    ground = choose("colour", (batch,))
    colours = len(KINDS["colour"])
    other = torch.randint(1, colours, objects, generator=generator, device=device)
    words = {
        "size": choose("size"),
        "colour": (ground[:, None] + other) % colours,
        "pattern": choose("pattern"),
        "shape": choose("shape"),
        "row": places // columns,
        "column": places % columns,
    }
    return Scenes(
        words=words,
        ground=ground,
        count=torch.randint(1, MAX_OBJECTS + 1, (batch,), generator=generator, device=device),
        shift=torch.tensor(SHIFTS, device=device)[
            torch.randint(len(SHIFTS), (*objects, 2), generator=generator, device=device)
        ],
    )


def tokens(scenes: Scenes) -> Tensor:
    """The captions as ``vocabulary.Scene.tokens`` gives them, ``(batch, 24)``."""

    def look_up(kind: str, indices: Tensor) -> Tensor:
        return torch.tensor([WORDS.index(word) for word in KINDS[kind]], device=indices.device)[indices]

    batch = len(scenes.ground)
    slots = torch.stack([look_up(kind, scenes.words[kind]) for kind in KINDS], dim=2)
    present = torch.arange(MAX_OBJECTS, device=slots.device) < scenes.count[:, None]
    slots = slots * present[..., None]
    result = torch.tensor(EMPTY_PROMPT, device=slots.device).repeat(batch, 1)
    end = slots[0].numel()
    result[:, :end] = slots.reshape(batch, end)
    result[:, end] = WORDS.index("on")
    result[:, end + 1] = look_up("colour", scenes.ground)
    return result


def render(scenes: Scenes) -> Tensor:
    """The pictures, ``(batch, 128, 128, 3)`` between -1 and 1."""
    device = scenes.ground.device
    line = (torch.arange(SIDE, device=device) + 0.5) / SIDE * 2 - 1
    x, y = line[None, None, :], line[None, :, None]
    palette = torch.tensor([_RGB[colour] for colour in KINDS["colour"]], device=device) / 127.5 - 1
    radii = torch.tensor([_RADIUS[size] for size in KINDS["size"]], device=device)
    picture = palette[scenes.ground][:, None, None, :] * (0.75 + 0.25 * y)[..., None]
    for place in range(MAX_OBJECTS):
        of = {kind: indices[:, place] for kind, indices in scenes.words.items()}
        middle_x = (of["column"] - 1) * _PLACES + scenes.shift[:, place, 0]
        middle_y = (of["row"] - 1) * _PLACES + scenes.shift[:, place, 1]
        right, down = torch.broadcast_tensors(x - _pixelwise(middle_x), y - _pixelwise(middle_y))
        outside = _distance(right, down, _pixelwise(radii[of["size"]]), _pixelwise(of["shape"]))
        there = _covered(outside) * _pixelwise(scenes.count > place)
        dark = _covered(_distance_to_pattern(right, down, _pixelwise(of["pattern"])))
        colour = palette[of["colour"]][:, None, None, :] * (1 - _PATTERN_DEPTH * dark)[..., None]
        picture = torch.lerp(picture, colour, there[..., None])
    return picture


def _pixelwise(values: Tensor) -> Tensor:
    return values[:, None, None]


def _covered(distance: Tensor) -> Tensor:
    """Share of a pixel that is inside, from its middle's distance to the outline (positive outside)."""
    share = (0.5 - distance / _EDGE).clamp(0, 1)
    return share * share * (3 - 2 * share)


def _distance(x: Tensor, y: Tensor, radius: Tensor, shape: Tensor) -> Tensor:
    """To the outline of each batch entry's shape, negative inside; the order is that of the vocabulary."""
    across, up = x.abs(), y.abs()
    from_middle = _length(x, y)
    bar, arm = 0.36 * radius, 1.05 * radius
    distances = {
        "circle": from_middle - radius,
        "square": torch.maximum(across, up) - 0.88 * radius,
        "diamond": (across + up) * math.sqrt(0.5) - 0.84 * radius,
        "ring": (from_middle - 0.72 * radius).abs() - 0.28 * radius,
        "triangle": torch.maximum(across * math.sqrt(0.75) - y * 0.5, y) - 0.6 * radius,
        "cross": torch.minimum(torch.maximum(across - arm, up - bar), torch.maximum(up - arm, across - bar)),
    }
    return _pick(shape, [distances[name] for name in KINDS["shape"]])


def _distance_to_pattern(x: Tensor, y: Tensor, pattern: Tensor) -> Tensor:
    """To the outline of the dark parts, negative in them. One stripe, and one dot, is in the object's middle."""
    right, down = (axis - _PERIOD * (axis / _PERIOD).round() for axis in (x, y))
    distances = {
        "plain": torch.ones_like(x),
        "striped": right.abs() - 0.25 * _PERIOD,
        "dotted": _length(right, down) - 0.3 * _PERIOD,
    }
    return _pick(pattern, [distances[name] for name in KINDS["pattern"]])


def _length(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt()


def _pick(index: Tensor, choices: list[Tensor]) -> Tensor:
    """The choice that each batch entry names."""
    result = choices[0]
    for number, choice in enumerate(choices[1:], 1):
        result = torch.where(index == number, choice, result)
    return result
