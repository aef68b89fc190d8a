"""Draws with a model in PyTorch as mflux's pipeline does: its schedule for 144 tokens, Euler steps, guidance."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from mflux_teacache.demo.sizes import GRID, TOKEN_CHANNELS
from mflux_teacache.demo.trainer.torch_model import TinyFlux
from mflux_teacache.demo.vocabulary import EMPTY_PROMPT

STEPS = 28
GUIDANCE = 2.5


def schedule(steps: int) -> list[float]:
    """Sigmas from 1 to 0, as mflux 0.24's FlowMatchEulerDiscreteScheduler spaces them for 144 image tokens."""
    at_10, at_200 = 8.73809524e-05 * GRID**2 + 1.89833333, 0.00016927 * GRID**2 + 0.45666666
    slope = (at_200 - at_10) / 190
    shift = math.exp(slope * steps + at_200 - 200 * slope)
    even = (1 - step / steps for step in range(steps))
    return [*(shift / (shift + 1 / share - 1) for share in even), 0.0]


def sample(model: TinyFlux, tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Latent tokens ``(batch, 144, 128)`` for captions ``(batch, 5, 4)``."""
    noise = torch.randn(len(tokens), GRID**2, TOKEN_CHANNELS, generator=generator, device=tokens.device)
    return denoised(model, noise, tokens)


def denoised(model: TinyFlux, latents: Tensor, tokens: Tensor, *, steps: int = STEPS) -> Tensor:
    """What noise becomes in so many steps."""
    with_and_without = torch.cat([tokens, torch.tensor(EMPTY_PROMPT, device=tokens.device).expand_as(tokens)])
    for sigma, following in pairwise(schedule(steps)):
        time = torch.full((len(with_and_without),), sigma, device=tokens.device)
        captioned, empty = model(latents.repeat(2, 1, 1), time, with_and_without).chunk(2)
        latents = latents + (following - sigma) * torch.lerp(empty, captioned, GUIDANCE)
    return latents
