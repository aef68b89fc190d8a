"""Random scenes with what their captions say (PyTorch); ``render.py`` draws them.

Everything is batched and runs on the device of the generator that it is given. Lengths are in units of which the
picture's side has 2, and places run from -1, left or top, to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mflux_teacache.demo.sizes import SIDE
from mflux_teacache.demo.vocabulary import (
    COLOURS,
    COLUMNS,
    LANDSCAPES,
    LENGTH,
    LIGHTS,
    MAX_OBJECTS,
    OBJECTS,
    ROWS,
    SIZES,
    WORDS,
    WORDS_PER_TOKEN,
)

GROUNDS = (*LANDSCAPES, *COLOURS)

_CELLS = 3  # along each side, for the three rows and three columns of the vocabulary
_CELL = 0.5  # from the middle of one to the next
_JITTER = 0.14
# The longer side in pixels: of small objects, and of large ones by how many there are.
_SMALL = (46.0, 60.0)
_LARGE = ((96.0, 124.0), (84.0, 108.0), (72.0, 94.0), (64.0, 82.0))
_MARGIN = 3 / SIDE
_TURN = 0.14  # radians, at most
# Layouts of which the least crowded is taken, and the distance in sizes from which on none is less crowded.
_LAYOUTS, _APART = 8, 0.85
_COUNT_SHARES = (0.25, 0.35, 0.25, 0.15)
_SMALL_SHARE, _SIZE_SAID = 0.25, 0.3
_COLOUR_SHARE, _GROUND_SAID = 0.3, 0.92
_LIGHT_SHARES = (0.5, 0.25, 0.25)
# Of the place: nothing is said, the column, the row, both.
_PLACE_SHARES = (0.25, 0.2, 0.1, 0.45)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """A batch.

    Attributes:
        name: indices into ``OBJECTS``, ``(batch, 4)``.
        present: whether there is such an object, ``(batch, 4)``.
        centre: x and y, ``(batch, 4, 2)``.
        half: of the longer side, ``(batch, 4)``.
        turn: in radians, ``(batch, 4)``.
        mirrored: 1 or -1, ``(batch, 4)``.
        ground: indices into ``GROUNDS``, ``(batch,)``.
        light: indices into ``LIGHTS``, ``(batch,)``.
        tokens: what the caption says, as ``vocabulary.Scene.tokens``, ``(batch, 5, 4)``.
    """

    name: Tensor
    present: Tensor
    centre: Tensor
    half: Tensor
    turn: Tensor
    mirrored: Tensor
    ground: Tensor
    light: Tensor
    tokens: Tensor


def sample(batch: int, generator: torch.Generator) -> Scenes:
    chance = _Chance(generator)
    objects = (batch, MAX_OBJECTS)
    count = 1 + chance.pick(_COUNT_SHARES, (batch,))
    present = torch.arange(MAX_OBJECTS, device=generator.device) < count[:, None]
    name = chance.below(len(OBJECTS), objects)
    is_small = chance.happens(_SMALL_SHARE, objects)
    large = torch.tensor(_LARGE, device=generator.device)[count - 1][:, None]
    small = torch.tensor(_SMALL, device=generator.device).expand_as(large)
    lowest, highest = torch.where(is_small[..., None], small, large).unbind(2)
    half = (lowest + (highest - lowest) * chance.uniform(objects)) / SIDE
    cell, centre = _layout(present, half, chance)
    ground = chance.pick(_ground_shares(), (batch,))
    light = chance.pick(_LIGHT_SHARES, (batch,)) * (ground < len(LANDSCAPES))
    return Scenes(
        name=name,
        present=present,
        centre=centre,
        half=half,
        turn=_TURN * (2 * chance.uniform(objects) - 1),
        mirrored=2 * chance.below(2, objects) - 1,
        ground=ground,
        light=light,
        tokens=_caption(name, present, is_small, cell, ground, light, chance),
    )


class _Chance:
    """Random tensors from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self._generator, device=self._generator.device)

    def below(self, count: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randint(count, shape, generator=self._generator, device=self._generator.device)

    def happens(self, share: float, shape: tuple[int, ...]) -> Tensor:
        return self.uniform(shape) < share

    def pick(self, shares: tuple[float, ...], shape: tuple[int, ...]) -> Tensor:
        """Indices, each as often as its share."""
        bounds = torch.tensor(shares, device=self._generator.device).cumsum(0)[:-1]
        return torch.bucketize(self.uniform(shape), bounds)


def _ground_shares() -> tuple[float, ...]:
    landscape = (1 - _COLOUR_SHARE) / len(LANDSCAPES)
    return (*[landscape] * len(LANDSCAPES), *[_COLOUR_SHARE / len(COLOURS)] * len(COLOURS))


def _layout(present: Tensor, half: Tensor, chance: _Chance) -> tuple[Tensor, Tensor]:
    """Each object's cell, ``(batch, 4)``, and centre: the least crowded of some random layouts."""
    batch = len(present)
    cells = chance.uniform((batch, _LAYOUTS, _CELLS**2)).argsort(2)[..., :MAX_OBJECTS]
    places = torch.stack([cells % _CELLS, cells // _CELLS], dim=3) - 1
    centres = _CELL * places + _JITTER * (2 * chance.uniform(tuple(places.shape)) - 1)
    most = (1 - _MARGIN - half)[:, None, :, None]
    centres = torch.minimum(torch.maximum(centres, -most), most)
    distances = (centres[:, :, :, None] - centres[:, :, None]).norm(dim=4)
    in_sizes = distances / (half[:, :, None] + half[:, None])[:, None]
    pairs = (present[:, :, None] & present[:, None]).triu(1)[:, None]
    crowding = torch.where(pairs, in_sizes, _APART).clamp(max=_APART).flatten(2).amin(2)
    best = crowding.argmax(1)
    rows = torch.arange(batch, device=best.device)
    return cells[rows, best], centres[rows, best]


def _caption(
    name: Tensor, present: Tensor, is_small: Tensor, cell: Tensor, ground: Tensor, light: Tensor, chance: _Chance
) -> Tensor:
    row, column = cell // _CELLS, cell % _CELLS
    said = chance.pick(_PLACE_SHARES, tuple(cell.shape))
    # "Center" and "middle" alone say both.
    row_said = (said >= 2) | ((said == 1) & (column == 1))
    column_said = (said == 3) | (said == 1) | ((said == 2) & (row == 1))
    size_said = chance.happens(_SIZE_SAID, tuple(cell.shape))
    tokens = torch.zeros(len(cell), LENGTH, WORDS_PER_TOKEN, dtype=torch.long, device=cell.device)
    tokens[:, :MAX_OBJECTS, 0] = _words(SIZES, 1 - is_small.long()) * size_said
    tokens[:, :MAX_OBJECTS, 1] = _words(OBJECTS, name)
    tokens[:, :MAX_OBJECTS, 2] = _words(ROWS, row) * row_said
    tokens[:, :MAX_OBJECTS, 3] = _words(COLUMNS, column) * column_said
    tokens[:, :MAX_OBJECTS] *= present[..., None]
    ground_said = chance.happens(_GROUND_SAID, tuple(ground.shape))
    tokens[:, MAX_OBJECTS, 0] = _words(GROUNDS, ground) * ground_said
    tokens[:, MAX_OBJECTS, 1] = _words(LIGHTS, light) * (ground_said & (ground < len(LANDSCAPES)))
    return tokens


def _words(kind: tuple[str, ...], indices: Tensor) -> Tensor:
    """Indices into a kind of words, as indices into the vocabulary."""
    return torch.tensor([WORDS.index(word) for word in kind], device=indices.device)[indices]
