"""The demo's codec in PyTorch, to make it: principal components of the scenes' patches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mflux_teacache.demo.trainer.torch_model import CHANNELS, GRID

# How strongly the first component stands out of noise of variance 1. With mflux's schedule, which spends
# half of its steps above sigma 0.85, the coarse layout is then settled early and outlines follow.
_LOUDEST = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A linear map between a patch of 16x16 pixels, 768 values, and the 128 channels of a token.

    Attributes:
        mean: ``(768,)``.
        basis: ``(768, 128)``, orthonormal columns.
        scale: ``(128,)``; a channel times its scale is in units of pixel values.
    """

    mean: Tensor
    basis: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, pictures: Tensor, whitening: float) -> Codec:
        """The components with the largest variance.

        Args:
            pictures: ``(batch, 128, 128, 3)``.
            whitening: 0 leaves the components' standard deviations as they are, up to one factor; 1 makes
                them equal; between them, their ratios are taken to the power of 1 - whitening.
        """
        values = patches(pictures).flatten(0, 1).double()
        mean = values.mean(0)
        centred = values - mean
        variances, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        deviations = variances.flip(0)[:CHANNELS].sqrt()
        wanted = _LOUDEST * (deviations / deviations[0]) ** (1 - whitening)
        basis = vectors.flip(1)[:, :CHANNELS]
        return cls(mean=mean.float(), basis=basis.float(), scale=(deviations / wanted).float())

    @property
    def loss_weights(self) -> Tensor:
        """What a squared error in each channel counts in pixels, ``(128,)``, on average 1."""
        weights = self.scale**2
        return weights / weights.mean()

    def encode(self, pictures: Tensor) -> Tensor:
        """``(batch, 128, 128, 3)`` to ``(batch, 64, 128)``."""
        return (patches(pictures) - self.mean) @ self.basis / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """The inverse, up to what 128 components leave out."""
        values = (latents * self.scale) @ self.basis.T + self.mean
        side = math.isqrt(len(self.mean) // 3)
        values = values.reshape(-1, GRID, GRID, side, side, 3)
        return values.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def patches(pictures: Tensor) -> Tensor:
    """Token by token in rows, ``(batch, 64, 768)``."""
    side = pictures.shape[1] // GRID
    return pictures.unflatten(2, (GRID, side)).unflatten(1, (GRID, side)).transpose(2, 3).flatten(3).flatten(1, 2)
