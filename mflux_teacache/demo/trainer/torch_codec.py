"""The demo's codec in PyTorch, to train it: ``demo/codec.py`` with its parameter names."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mflux_teacache.demo.sizes import CODEC_WIDTHS, DECODER_BLOCKS, ENCODER_BLOCKS, LATENT_CHANNELS, TOKEN_CHANNELS

_EPSILON = 1e-4  # mflux's Flux2BatchNormStats


class Codec(nn.Module):
    """Pictures ``(batch, 3, 192, 192)`` between -1 and 1, and tokens ``(batch, 144, 128)``."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.bn = Normalization()

    def tokens(self, pictures: Tensor) -> Tensor:
        """What the transformer learns to draw: packed latents, each channel of mean 0 and variance 1."""
        packed = functional.pixel_unshuffle(self.encoder(pictures), 2).float()
        return self.bn.normalized(packed).flatten(2).transpose(1, 2)

    def pictures(self, tokens: Tensor) -> Tensor:
        """The inverse."""
        side = round(tokens.shape[1] ** 0.5)
        packed = self.bn.restored(tokens.transpose(1, 2).unflatten(2, (side, side)))
        decoded: Tensor = self.decoder(functional.pixel_shuffle(packed, 2))
        return decoded


class Normalization(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(TOKEN_CHANNELS))
        self.register_buffer("running_var", torch.ones(TOKEN_CHANNELS))

    def measure(self, latents: Tensor) -> None:
        """Take over the mean and variance of some pictures' latents."""
        packed = functional.pixel_unshuffle(latents, 2).transpose(0, 1).flatten(1)
        self.running_mean.copy_(packed.mean(1))
        self.running_var.copy_(packed.var(1))

    def normalized(self, packed: Tensor) -> Tensor:
        return (packed - self.running_mean[:, None, None]) / self._deviation()

    def restored(self, packed: Tensor) -> Tensor:
        return packed * self._deviation() + self.running_mean[:, None, None]

    def _deviation(self) -> Tensor:
        return (self.running_var + _EPSILON).sqrt()[:, None, None]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        small, middle, large = CODEC_WIDTHS
        self.enter = _conv(4 * 3, large)
        self.stages = _stages(CODEC_WIDTHS[::-1], ENCODER_BLOCKS[::-1])
        self.narrow = nn.ModuleList([_conv(4 * large, middle, kernel=1), _conv(4 * middle, small, kernel=1)])
        self.leave = _conv(small, LATENT_CHANNELS)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.enter(functional.pixel_unshuffle(hidden, 2))
        for stage, narrow in zip(self.stages, (*self.narrow, None), strict=True):
            for block in stage:
                hidden = block(hidden)
            if narrow is not None:
                hidden = narrow(functional.pixel_unshuffle(hidden, 2))
        left: Tensor = self.leave(functional.silu(hidden))
        return left


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        small, middle, large = CODEC_WIDTHS
        self.enter = _conv(LATENT_CHANNELS, small)
        self.stages = _stages(CODEC_WIDTHS, DECODER_BLOCKS)
        self.widen = nn.ModuleList([_conv(small, 4 * middle, kernel=1), _conv(middle, 4 * large, kernel=1)])
        self.leave = _conv(large, 4 * 3)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.enter(hidden)
        for stage, widen in zip(self.stages, (*self.widen, None), strict=True):
            for block in stage:
                hidden = block(hidden)
            if widen is not None:
                hidden = functional.pixel_shuffle(widen(hidden), 2)
        return functional.pixel_shuffle(self.leave(functional.silu(hidden)), 2)


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)
        # Blocks that start as the identity train without normalisation (https://arxiv.org/abs/1901.09321).
        nn.init.zeros_(self.second.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        changed: Tensor = self.second(functional.silu(self.first(functional.silu(hidden))))
        return hidden + changed


def _stages(widths: tuple[int, ...], counts: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList(
        nn.ModuleList(ResidualBlock(width) for _ in range(count)) for width, count in zip(widths, counts, strict=True)
    )


def _conv(inputs: int, outputs: int, *, kernel: int = 3) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.zeros_(conv.bias)
    return conv
