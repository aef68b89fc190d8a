"""The demo's codec: a convolutional autoencoder with the interface that mflux asks of FLUX.2's VAE.

A picture becomes latents of 32 channels at an eighth of its size. mflux packs 2x2 of them into a token of 128 channels,
which are normalised there, each by its own mean and variance, as FLUX.2's are. Everything is float32.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mflux.models.flux2.model.flux2_vae.common.batch_norm_stats import Flux2BatchNormStats
from mlx import nn

from mflux_teacache.demo.sizes import (
    CODEC_WIDTHS,
    DECODER_BLOCKS,
    ENCODER_BLOCKS,
    LATENT_CHANNELS,
    TOKEN_CHANNELS,
)


class Codec(nn.Module):
    """Between pictures ``(batch, 3, height, width)``, -1 to 1, and latents. Sides are multiples of 16."""

    latent_channels = LATENT_CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.bn = Flux2BatchNormStats(num_features=TOKEN_CHANNELS)

    def encode(self, image: mx.array) -> mx.array:
        """A picture's latents ``(batch, 32, height / 8, width / 8)``, not normalised: mflux does that."""
        return self.encoder(image.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    def decode(self, latents: mx.array) -> mx.array:
        """The inverse of ``encode``."""
        return self.decoder(latents.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    def decode_packed_latents(self, packed_latents: mx.array, tiling_config: Any = None) -> mx.array:
        """Normalised latents of the transformer, ``(batch, 128, rows, columns)``, to a picture 16 times as large."""
        deviation = mx.sqrt(self.bn.running_var + self.bn.eps)
        packed = packed_latents.transpose(0, 2, 3, 1) * deviation + self.bn.running_mean
        return self.decoder(enlarged(packed)).transpose(0, 3, 1, 2)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        small, middle, large = CODEC_WIDTHS
        self.enter = _conv(4 * 3, large)
        self.stages = [_blocks(width, count) for width, count in zip(CODEC_WIDTHS, ENCODER_BLOCKS, strict=True)][::-1]
        self.narrow = [_conv(4 * large, middle, kernel=1), _conv(4 * middle, small, kernel=1)]
        self.leave = _conv(small, LATENT_CHANNELS)

    def __call__(self, hidden: mx.array) -> mx.array:
        """``(batch, height, width, 3)`` to ``(batch, height / 8, width / 8, 32)``."""
        hidden = self.enter(reduced(hidden))
        for stage, narrow in zip(self.stages, (*self.narrow, None), strict=True):
            for block in stage:
                hidden = block(hidden)
            if narrow is not None:
                hidden = narrow(reduced(hidden))
        left: mx.array = self.leave(nn.silu(hidden))
        return left


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        small, middle, large = CODEC_WIDTHS
        self.enter = _conv(LATENT_CHANNELS, small)
        self.stages = [_blocks(width, count) for width, count in zip(CODEC_WIDTHS, DECODER_BLOCKS, strict=True)]
        self.widen = [_conv(small, 4 * middle, kernel=1), _conv(middle, 4 * large, kernel=1)]
        self.leave = _conv(large, 4 * 3)

    def __call__(self, hidden: mx.array) -> mx.array:
        """The inverse of the encoder."""
        hidden = self.enter(hidden)
        for stage, widen in zip(self.stages, (*self.widen, None), strict=True):
            for block in stage:
                hidden = block(hidden)
            if widen is not None:
                hidden = enlarged(widen(hidden))
        return enlarged(self.leave(nn.silu(hidden)))


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)

    def __call__(self, hidden: mx.array) -> mx.array:
        changed: mx.array = self.second(nn.silu(self.first(nn.silu(hidden))))
        return hidden + changed


def enlarged(hidden: mx.array) -> mx.array:
    """``(batch, rows, columns, 4 channels)`` to ``(batch, 2 rows, 2 columns, channels)``."""
    batch, rows, columns, channels = hidden.shape
    split = hidden.reshape(batch, rows, columns, channels // 4, 2, 2)
    return split.transpose(0, 1, 4, 2, 5, 3).reshape(batch, 2 * rows, 2 * columns, channels // 4)


def reduced(hidden: mx.array) -> mx.array:
    """The inverse of ``enlarged``."""
    batch, rows, columns, channels = hidden.shape
    split = hidden.reshape(batch, rows // 2, 2, columns // 2, 2, channels)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(batch, rows // 2, columns // 2, 4 * channels)


def _blocks(width: int, count: int) -> list[ResidualBlock]:
    return [ResidualBlock(width) for _ in range(count)]


def _conv(inputs: int, outputs: int, *, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
