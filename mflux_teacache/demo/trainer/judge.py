"""How well a model in training draws (PyTorch): samples, a sheet of them, and their closest scenes."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from mflux_teacache.demo.trainer import scenes
from mflux_teacache.demo.trainer.scenes import SHIFTS, Scenes
from mflux_teacache.demo.trainer.torch_model import CHANNELS, GRID, TinyFlux
from mflux_teacache.demo.vocabulary import EMPTY_PROMPT, MAX_OBJECTS
from mflux_teacache.pieces.output_files import replace_file

STEPS = 50
GUIDANCE = 2.5

_COLUMNS = 8
_ENLARGED = 2


def schedule(steps: int) -> list[float]:
    """Sigmas from 1 to 0, as mflux 0.24's FlowMatchEulerDiscreteScheduler spaces them for 64 image tokens."""
    shift = math.exp(1.9795 - 0.00756 * steps)
    even = (1 - step / steps for step in range(steps))
    return [*(shift / (shift + 1 / share - 1) for share in even), 0.0]


def draw(model: TinyFlux, tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Latents ``(batch, 64, 128)`` for tokens ``(batch, 24)``, sampled as the demo does: Euler, with guidance."""
    latents = torch.randn(len(tokens), GRID * GRID, CHANNELS, generator=generator, device=tokens.device)
    with_and_without = torch.cat([tokens, torch.tensor(EMPTY_PROMPT, device=tokens.device).expand_as(tokens)])
    sigmas = schedule(STEPS)
    for sigma, following in pairwise(sigmas):
        time = torch.full((len(with_and_without),), sigma, device=tokens.device)
        with torch.no_grad():
            captioned, empty = model(latents.repeat(2, 1, 1), time, with_and_without).chunk(2)
        latents = latents + (following - sigma) * torch.lerp(empty, captioned, GUIDANCE)
    return latents


def closest(pictures: Tensor, captioned: Scenes) -> Tensor:
    """For each picture, the drawn scene of its caption that differs least from it.

    The caption leaves each object's shift open. A clean picture is equal to a scene; what is left of a
    difference is ragged outlines, wrong words and artefacts. One object after the other: they hardly overlap.

    Args:
        pictures: ``(batch, 128, 128, 3)``.
        captioned: scenes with the same captions; their own shifts are not looked at.
    """
    found = replace(captioned, shift=torch.zeros_like(captioned.shift))
    for place in range(MAX_OBJECTS):
        candidates = [_with_shift(found, place, shift) for shift in product(SHIFTS, SHIFTS)]
        errors = torch.stack([(scenes.render(one) - pictures).square().mean((1, 2, 3)) for one in candidates])
        shifts = torch.stack([one.shift for one in candidates])
        found = replace(found, shift=shifts[errors.argmin(0), torch.arange(len(pictures), device=shifts.device)])
    return scenes.render(found)


def _with_shift(drawn: Scenes, place: int, shift: tuple[float, float]) -> Scenes:
    shifts = drawn.shift.clone()
    shifts[:, place] = torch.tensor(shift, device=shifts.device)
    return replace(drawn, shift=shifts)


def psnr(pictures: Tensor, references: Tensor) -> Tensor:
    """In dB, one for each of the pictures, whose values are between -1 and 1."""
    return 10 * torch.log10(4 / (pictures.clamp(-1, 1) - references).square().mean((1, 2, 3)))


def write_sheet(path: Path, pictures: Tensor, references: Tensor) -> None:
    """A PNG: rows of pictures, each row above the row of its references."""
    rows = [
        torch.cat(list(some), dim=1)
        for pair in zip(pictures.split(_COLUMNS), references.split(_COLUMNS), strict=True)
        for some in pair
    ]
    levels = ((torch.cat(rows).clamp(-1, 1) + 1) * 127.5).round().cpu().numpy().astype(np.uint8)
    content = io.BytesIO()
    size = (_ENLARGED * levels.shape[1], _ENLARGED * levels.shape[0])
    PIL.Image.fromarray(levels).resize(size).save(content, format="PNG")
    replace_file(path, content.getvalue())
