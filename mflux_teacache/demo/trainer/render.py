"""Composes the training scenes: sprites with soft shadows on their backgrounds (PyTorch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mflux_teacache.demo.sizes import SIDE
from mflux_teacache.demo.trainer import backgrounds
from mflux_teacache.demo.trainer.backgrounds import Background
from mflux_teacache.demo.trainer.emoji import CANVAS, CONTENT
from mflux_teacache.demo.trainer.scenes import Scenes
from mflux_teacache.demo.vocabulary import LANDSCAPES

_BLUR = 13  # pixels of a sprite
_ON_GROUND, _ON_WALL = 0.55, 0.38  # how dark shadows are
_FLAT = 0.16  # the height of a shadow on the ground, in heights of its object
_REDUCED_BELOW = 80 / SIDE  # smaller objects are drawn from sprites of half the resolution


class Renderer:
    """Draws scenes with the sprites of a file that ``emoji.py`` made.

    Args:
        device: where to draw.
    """

    def __init__(self, sprites: Path, device: torch.device) -> None:
        pixels = torch.from_numpy(np.load(sprites)).to(device).permute(0, 3, 1, 2) / 255
        opacity = pixels[:, 3:]
        shade = functional.avg_pool2d(opacity, _BLUR, 1, _BLUR // 2)
        shade = functional.avg_pool2d(shade, _BLUR, 1, _BLUR // 2)
        reduced = functional.interpolate(functional.avg_pool2d(pixels, 2), scale_factor=2, mode="bilinear")
        self._sprites = torch.stack([reduced, pixels])
        self._shades = shade
        rows = (opacity[:, 0] > 0.5).any(2)
        self._feet = rows.sum(1) / CONTENT  # half the height, in halves of the longer side

    def render(self, scenes: Scenes, generator: torch.Generator) -> Tensor:
        """Pictures ``(batch, 3, 192, 192)`` between -1 and 1; the generator decides on the backgrounds."""
        background = backgrounds.draw(scenes, generator)
        picture = background.pictures
        feet = scenes.centre[..., 1] + scenes.half * self._feet[scenes.name]
        for place in torch.where(scenes.present, feet, -9.0).argsort(1).unbind(1):  # from the back to the front
            picture = self._with_object(picture, _Thing(scenes, place), background)
        return picture.clamp(0, 1) * 2 - 1

    def _with_object(self, picture: Tensor, thing: _Thing, background: Background) -> Tensor:
        shadow = self._shadow(thing, background.horizon)
        picture = picture * (1 - shadow * thing.present[:, None, None, None])
        sprites = self._sprites[(thing.half > _REDUCED_BELOW).long(), thing.name]
        layer = _placed(sprites, thing.centre, thing.half.expand(2, -1).T, thing.turn, thing.mirrored)
        layer = layer * thing.present[:, None, None, None]
        return picture * (1 - layer[:, 3:]) + layer[:, :3] * background.tint[:, :, None, None]

    def _shadow(self, thing: _Thing, horizon: Tensor) -> Tensor:
        """On a wall behind the object, or flat at its feet if they are on the ground; ``(batch, 1, 192, 192)``."""
        on_wall = thing.ground >= len(LANDSCAPES)
        feet = self._feet[thing.name] * thing.half
        fallen = torch.stack([torch.zeros_like(feet), feet - 0.03 * thing.half], dim=1)
        behind = torch.stack([0.06 * thing.half, 0.12 * thing.half], dim=1)
        centre = thing.centre + torch.where(on_wall[:, None], behind, fallen)
        height = torch.where(on_wall, 1.0, _FLAT)
        halves = torch.stack([1.04 * thing.half, 1.04 * height * thing.half], dim=1)
        grounded = ((thing.centre[:, 1] + feet - horizon) / 0.15).clamp(0, 1)
        strength = torch.where(on_wall, _ON_WALL, _ON_GROUND * grounded)
        turn = thing.turn * on_wall
        shade = _placed(self._shades[thing.name], centre, halves, turn, thing.mirrored)
        return shade * strength[:, None, None, None]


class _Thing:
    """One object of each scene, all ``(batch,)`` but its centre, ``(batch, 2)``."""

    def __init__(self, scenes: Scenes, place: Tensor) -> None:
        rows = torch.arange(len(place), device=place.device)
        self.name, self.half, self.turn = scenes.name[rows, place], scenes.half[rows, place], scenes.turn[rows, place]
        self.centre, self.mirrored = scenes.centre[rows, place], scenes.mirrored[rows, place]
        self.present, self.ground = scenes.present[rows, place].float(), scenes.ground


def _placed(textures: Tensor, centre: Tensor, halves: Tensor, turn: Tensor, mirrored: Tensor) -> Tensor:
    """Textures on the whole picture: turned, mirrored, with their content's halves (x, y) at a centre."""
    line = (torch.arange(SIDE, device=centre.device) + 0.5) / SIDE * 2 - 1
    right = line[None, None, :] - centre[:, 0, None, None]
    down = line[None, :, None] - centre[:, 1, None, None]
    cos, sin, mirror = (values[:, None, None] for values in (turn.cos(), turn.sin(), mirrored))
    wide, high = (halves * (CANVAS / CONTENT))[:, :, None, None].unbind(1)
    grid = torch.stack([mirror * (cos * right + sin * down) / wide, (cos * down - sin * right) / high], dim=3)
    return functional.grid_sample(textures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
