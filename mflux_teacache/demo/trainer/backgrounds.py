"""Draws the training scenes' backgrounds: landscapes by day, at sunset and at night, and lit colours (PyTorch)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from mflux_teacache.demo.sizes import SIDE
from mflux_teacache.demo.trainer.scenes import Scenes
from mflux_teacache.demo.vocabulary import COLOURS, LANDSCAPES, LIGHTS

# Red, green and blue from 0 to 255. Of the sky: at the zenith, half way down, at the horizon.
_SKIES = {
    "day": ((64, 140, 232), (130, 192, 248), (205, 234, 252)),
    "sunset": ((92, 66, 150), (236, 116, 108), (255, 206, 130)),
    "night": ((10, 13, 42), (34, 40, 96), (78, 84, 148)),
}
_CLOUDS = {"day": (255, 255, 255), "sunset": (255, 186, 168), "night": (70, 76, 130)}
# At the horizon and at the picture's lower edge. The sky has no ground of its own.
_GROUNDS = {
    "sky": ((0, 0, 0), (0, 0, 0)),
    "grass": ((142, 208, 96), (52, 146, 62)),
    "sand": ((250, 226, 168), (222, 176, 104)),
    "water": ((104, 190, 232), (22, 92, 172)),
    "snow": ((240, 246, 253), (196, 216, 240)),
}
# What the light leaves of a ground's colours, and of an object's.
_ON_GROUND = {"day": (1.0, 1.0, 1.0), "sunset": (0.98, 0.74, 0.68), "night": (0.30, 0.36, 0.56)}
_ON_OBJECTS = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.90, 0.84), "night": (0.72, 0.76, 0.94)}
_COLOURS = {
    "red": (226, 62, 62),
    "orange": (246, 148, 54),
    "yellow": (250, 212, 72),
    "green": (92, 188, 96),
    "blue": (66, 120, 228),
    "purple": (146, 92, 206),
    "pink": (248, 158, 196),
    "white": (246, 246, 248),
    "grey": (150, 154, 162),
    "black": (44, 46, 54),
}
# How far hills rise and fall, by landscape: none on water.
_HILLS = {"sky": 0.0, "grass": 0.07, "sand": 0.06, "water": 0.0, "snow": 0.06}
_NO_HORIZON = 3.0  # far below the picture


class Background(NamedTuple):
    """Pictures ``(batch, 3, 192, 192)`` from 0 to 1, where the ground begins, and what the light leaves of objects.

    The horizon is ``(batch,)`` in the units of ``scenes``; below every picture where there is none.
    """

    pictures: Tensor
    horizon: Tensor
    tint: Tensor


def draw(scenes: Scenes, generator: torch.Generator) -> Background:
    batch, device = len(scenes.ground), scenes.ground.device
    line = (torch.arange(SIDE, device=device) + 0.5) / SIDE * 2 - 1
    x, y = line[None, None, None, :], line[None, None, :, None]

    def random(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator, device=device)

    is_landscape = scenes.ground < len(LANDSCAPES)
    has_ground = is_landscape & (scenes.ground > 0)
    horizon = torch.where(has_ground, -0.3 + 0.4 * random(), _NO_HORIZON)
    sky = _sky(x, y, scenes.light, torch.where(has_ground, horizon, 0.9), random)
    landscape = torch.where(_pixelwise(has_ground[:, None]), _ground(x, y, sky, scenes, horizon, random), sky)
    colour = _lit_colour(x, y, scenes.ground, random)
    pictures = torch.where(_pixelwise(is_landscape[:, None]), landscape, colour)
    tint = torch.where(is_landscape[:, None], _table(_ON_OBJECTS, LIGHTS, device)[scenes.light], 1.0)
    pictures = pictures * _pixelwise(0.94 + 0.1 * random(1))
    return Background(pictures.clamp(0, 1), horizon, tint)


def _sky(x: Tensor, y: Tensor, light: Tensor, end: Tensor, random: _Random) -> Tensor:
    """Three colours from the zenith to where it ends; clouds, a glow at sunset, stars at night."""
    colours = _colours(_SKIES, LIGHTS, light)
    down = ((y + 1) / _pixelwise(1 + end[:, None])).clamp(0, 1)
    sky = _gradient(down, *(_pixelwise(colours[:, stop]) for stop in range(3)))
    sunset, night = (_pixelwise((light == LIGHTS.index(name)).float()[:, None]) for name in ("sunset", "night"))
    glow_x, glow_y = _pixelwise(1.6 * random(1) - 0.8), _pixelwise(end[:, None])
    glow = torch.exp(-4 * (x - glow_x).square() - 9 * (y - glow_y).square()) * sunset
    sky = torch.lerp(sky, _pixelwise(torch.tensor([[1.0, 0.86, 0.55]], device=x.device)), 0.75 * glow)
    clouds = _clouds(random) * (1 - 0.75 * down) * (1 - 0.7 * night)
    sky = torch.lerp(sky, _pixelwise(_table(_CLOUDS, LIGHTS, x.device)[light]), clouds)
    return sky + night * (1 - down) * _stars(random)


def _clouds(random: _Random) -> Tensor:
    """How dense they are; three skies in four have some."""
    noise = 0.65 * _smooth(random(1, 6, 4)) + 0.35 * _smooth(random(1, 16, 8))
    return 0.85 * _smoothstep(noise, 0.55, 0.78) * _pixelwise(random(1) < 0.75)


def _stars(random: _Random) -> Tensor:
    """About eighty, of different brightness, a little larger than a pixel."""
    points = torch.where(random(1, SIDE, SIDE) > 0.9978, 0.4 + 0.6 * random(1, SIDE, SIDE), 0.0)
    bloom = torch.tensor([[0.12, 0.3, 0.12], [0.3, 1.0, 0.3], [0.12, 0.3, 0.12]], device=points.device)
    return 0.9 * functional.conv2d(points, bloom[None, None], padding=1)


def _ground(x: Tensor, y: Tensor, sky: Tensor, scenes: Scenes, horizon: Tensor, random: _Random) -> Tensor:
    """A ridge in the distance and the ground in front of it; streaks of the sky's light on water."""
    kind = scenes.ground.clamp(max=len(LANDSCAPES) - 1)
    near_and_far = _colours(_GROUNDS, LANDSCAPES, kind)
    light = _table(_ON_GROUND, LIGHTS, x.device)[scenes.light]
    far, near = (_pixelwise(near_and_far[:, end] * light) for end in range(2))
    haze = sky[:, :, -1:, -1:]
    height = _pixelwise(torch.tensor([_HILLS[name] for name in LANDSCAPES], device=x.device)[kind][:, None])
    level = _pixelwise(horizon[:, None])
    edge = level + height * _waves(x, 2, random)
    ridge = level - 2 * height * (0.4 + _waves(x, 3, random))
    picture = torch.lerp(sky, torch.lerp(far, haze, 0.45), _below(y, ridge) * (height > 0))
    down = ((y - edge) / (1 - edge)).clamp(0, 1)
    water = _pixelwise((kind == LANDSCAPES.index("water")).float()[:, None])
    ground = torch.lerp(torch.lerp(far, near, down.sqrt()), haze, water * 0.5 * (1 - down).square())
    streaks = (_smooth(random(1, 40, 5)) - 0.5) * (0.4 + 0.6 * down)
    return torch.lerp(picture, ground * (1 + (0.07 + 0.25 * water) * streaks), _below(y, edge))


def _lit_colour(x: Tensor, y: Tensor, ground: Tensor, random: _Random) -> Tensor:
    """A wall with a soft light on it."""
    colour = _table(_COLOURS, COLOURS, x.device)[(ground - len(LANDSCAPES)).clamp(min=0)]
    middle_x, middle_y = (_pixelwise(0.8 * random(1) - 0.4) for _ in range(2))
    fall = torch.exp(-0.45 * ((x - middle_x).square() + (y - middle_y + 0.3).square()))
    lit = _pixelwise(colour) * (0.62 + 0.42 * fall)
    return torch.lerp(lit, torch.ones_like(lit), 0.12 * fall.square())


class _Random(Protocol):
    """Numbers from 0 to 1 for each scene of a batch."""

    def __call__(self, *shape: int) -> Tensor: ...


def _waves(x: Tensor, frequency: float, random: _Random) -> Tensor:
    return torch.sin(_pixelwise(frequency + 2 * random(1)) * x + _pixelwise(2 * math.pi * random(1)))


def _below(y: Tensor, edge: Tensor) -> Tensor:
    """How much of a pixel lies below an edge, with a soft border of about two pixels."""
    return ((y - edge) * SIDE / 4 + 0.5).clamp(0, 1)


def _smooth(grid: Tensor) -> Tensor:
    return functional.interpolate(grid, size=(SIDE, SIDE), mode="bicubic", align_corners=False)


def _smoothstep(value: Tensor, low: float, high: float) -> Tensor:
    share = ((value - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)


def _gradient(share: Tensor, first: Tensor, middle: Tensor, last: Tensor) -> Tensor:
    upper = torch.lerp(first, middle, (2 * share).clamp(max=1))
    return torch.lerp(upper, last, (2 * share - 1).clamp(min=0))


def _pixelwise(values: Tensor) -> Tensor:
    return values[:, :, None, None]


def _table(table: Mapping[str, tuple[float, ...]], names: tuple[str, ...], device: torch.device) -> Tensor:
    values = torch.tensor([table[name] for name in names], device=device)
    return values if values.max() <= 1 else values / 255


def _colours(table: Mapping[str, tuple[tuple[int, ...], ...]], names: tuple[str, ...], index: Tensor) -> Tensor:
    """``(batch, stops, 3)``."""
    return torch.tensor([table[name] for name in names], device=index.device)[index] / 255
