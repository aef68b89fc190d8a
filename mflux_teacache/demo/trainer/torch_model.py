"""The demo's model in PyTorch, to train it: mflux's ``Flux2Transformer`` at one size, with its parameter names.

Weights go into mflux's class as they are. What FLUX.2 has and the demo does not use (guidance embedding,
reference images, key/value cache) is left out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mflux_teacache.demo.sizes import (
    DOUBLE_BLOCKS,
    GRID,
    HEAD_WIDTH,
    HEADS,
    ROPE_AXES,
    ROPE_BASE,
    SINGLE_BLOCKS,
    TOKEN_CHANNELS,
    WORD_WIDTH,
)
from mflux_teacache.demo.vocabulary import LENGTH, WORDS

_WIDTH = HEADS * HEAD_WIDTH
_HIDDEN = 3 * _WIDTH
_TIME_CHANNELS = 256

# A modulation: shift, scale and gate, each ``(batch, 1, width)``.
Modulation = tuple[Tensor, ...]


class TinyFlux(nn.Module):
    """Word embedding and transformer; ``state_dict()`` has the names of the demo's weight file."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS), WORD_WIDTH)
        self.transformer = Transformer()

    def forward(self, latents: Tensor, sigma: Tensor, tokens: Tensor) -> Tensor:
        """The velocity, noise minus picture, that is predicted at ``latents``.

        Args:
            latents: ``(batch, 144, 128)``.
            sigma: ``(batch,)``, 1 = pure noise.
            tokens: ``(batch, 5, 4)``.
        """
        velocity: Tensor = self.transformer(latents, self.words(tokens).sum(2), 1000 * sigma)
        return velocity


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.time_guidance_embed = TimeEmbedding()
        self.double_stream_modulation_img = Modulate(2)
        self.double_stream_modulation_txt = Modulate(2)
        self.single_stream_modulation = Modulate(1)
        self.x_embedder = _linear(TOKEN_CHANNELS, _WIDTH)
        self.context_embedder = _linear(WORD_WIDTH, _WIDTH)
        self.transformer_blocks = nn.ModuleList(DoubleBlock() for _ in range(DOUBLE_BLOCKS))
        self.single_transformer_blocks = nn.ModuleList(SingleBlock() for _ in range(SINGLE_BLOCKS))
        self.norm_out = FinalNorm()
        self.proj_out = _linear(_WIDTH, TOKEN_CHANNELS)
        self.register_buffer("rotation", _rotation(), persistent=False)

    def forward(self, latents: Tensor, text: Tensor, time: Tensor) -> Tensor:
        embedded = self.time_guidance_embed(time)
        image_modulations = self.double_stream_modulation_img(embedded)
        text_modulations = self.double_stream_modulation_txt(embedded)
        image, text = self.x_embedder(latents), self.context_embedder(text)
        for block in self.transformer_blocks:
            image, text = block(image, text, image_modulations, text_modulations, self.rotation)
        both = torch.cat([text, image], dim=1)
        (modulation,) = self.single_stream_modulation(embedded)
        for block in self.single_transformer_blocks:
            both = block(both, modulation, self.rotation)
        velocity: Tensor = self.proj_out(self.norm_out(both[:, LENGTH:], embedded))
        return velocity


class TimeEmbedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear_1 = _linear(_TIME_CHANNELS, _WIDTH)
        self.linear_2 = _linear(_WIDTH, _WIDTH)
        half = _TIME_CHANNELS // 2
        self.register_buffer("frequencies", torch.exp(-math.log(10000) * torch.arange(half) / half), persistent=False)

    def forward(self, time: Tensor) -> Tensor:
        angles = time[:, None] * self.frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        embedded: Tensor = self.linear_2(functional.silu(self.linear_1(waves)))
        return embedded


class Modulate(nn.Module):
    """From the time, one modulation for each of ``count`` branches, shared by all blocks."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.linear = _linear(_WIDTH, 3 * count * _WIDTH)
        # Blocks that start close to the identity train faster (adaLN-Zero, https://arxiv.org/abs/2212.09748).
        nn.init.normal_(self.linear.weight, std=0.02)
        self._count = count

    def forward(self, embedded: Tensor) -> list[Modulation]:
        parts = self.linear(functional.silu(embedded))[:, None].chunk(3 * self._count, dim=2)
        return [parts[3 * index : 3 * index + 3] for index in range(self._count)]


class FinalNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = _linear(_WIDTH, 2 * _WIDTH)

    def forward(self, hidden: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = self.linear(functional.silu(embedded))[:, None].chunk(2, dim=2)
        return _normed(hidden, shift, scale)


class DoubleBlock(nn.Module):
    """Image and text with weights of their own, joined in the attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = JointAttention()
        self.ff = FeedForward()
        self.ff_context = FeedForward()

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        image_modulations: list[Modulation],
        text_modulations: list[Modulation],
        rotation: Tensor,
    ) -> tuple[Tensor, Tensor]:
        (shift, scale, gate), (ff_shift, ff_scale, ff_gate) = image_modulations
        (t_shift, t_scale, t_gate), (t_ff_shift, t_ff_scale, t_ff_gate) = text_modulations
        to_image, to_text = self.attn(_normed(image, shift, scale), _normed(text, t_shift, t_scale), rotation)
        image = image + gate * to_image
        text = text + t_gate * to_text
        image = image + ff_gate * self.ff(_normed(image, ff_shift, ff_scale))
        text = text + t_ff_gate * self.ff_context(_normed(text, t_ff_shift, t_ff_scale))
        return image, text


class SingleBlock(nn.Module):
    """Attention and feed-forward side by side over text and image tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = ParallelAttention()

    def forward(self, hidden: Tensor, modulation: Modulation, rotation: Tensor) -> Tensor:
        shift, scale, gate = modulation
        return hidden + gate * self.attn(_normed(hidden, shift, scale), rotation)


class JointAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (_linear(_WIDTH, _WIDTH) for _ in range(4))
        self.add_q_proj, self.add_k_proj, self.add_v_proj, self.to_add_out = (_linear(_WIDTH, _WIDTH) for _ in range(4))
        self.norm_q, self.norm_k, self.norm_added_q, self.norm_added_k = (_head_norm() for _ in range(4))

    def forward(self, image: Tensor, text: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        queries = [self.norm_added_q(_heads(self.add_q_proj(text))), self.norm_q(_heads(self.to_q(image)))]
        keys = [self.norm_added_k(_heads(self.add_k_proj(text))), self.norm_k(_heads(self.to_k(image)))]
        values = [_heads(self.add_v_proj(text)), _heads(self.to_v(image))]
        query, key, value = (torch.cat(parts, dim=2) for parts in (queries, keys, values))
        attended = _attention(query, key, value, rotation)
        return self.to_out(attended[:, LENGTH:]), self.to_add_out(attended[:, :LENGTH])


class ParallelAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_qkv_mlp_proj = _linear(_WIDTH, 3 * _WIDTH + 2 * _HIDDEN)
        self.norm_q, self.norm_k = _head_norm(), _head_norm()
        self.to_out = _linear(_WIDTH + _HIDDEN, _WIDTH)

    def forward(self, hidden: Tensor, rotation: Tensor) -> Tensor:
        query, key, value, mlp = self.to_qkv_mlp_proj(hidden).split([_WIDTH, _WIDTH, _WIDTH, 2 * _HIDDEN], dim=2)
        attended = _attention(self.norm_q(_heads(query)), self.norm_k(_heads(key)), _heads(value), rotation)
        result: Tensor = self.to_out(torch.cat([attended, _swiglu(mlp)], dim=2))
        return result


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear_in = _linear(_WIDTH, 2 * _HIDDEN)
        self.linear_out = _linear(_HIDDEN, _WIDTH)

    def forward(self, hidden: Tensor) -> Tensor:
        result: Tensor = self.linear_out(_swiglu(self.linear_in(hidden)))
        return result


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def _head_norm() -> nn.RMSNorm:
    return nn.RMSNorm(HEAD_WIDTH, eps=1e-5)


def _normed(hidden: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return functional.layer_norm(hidden, (_WIDTH,), eps=1e-6) * (1 + scale) + shift


def _swiglu(hidden: Tensor) -> Tensor:
    gate, value = hidden.chunk(2, dim=2)
    return functional.silu(gate) * value


def _heads(flat: Tensor) -> Tensor:
    """``(batch, tokens, width)`` to ``(batch, heads, tokens, head width)``."""
    return flat.unflatten(2, (HEADS, HEAD_WIDTH)).transpose(1, 2)


def _attention(query: Tensor, key: Tensor, value: Tensor, rotation: Tensor) -> Tensor:
    """Over all tokens, text first; ``(batch, tokens, width)``."""
    query, key = (_rotated(heads, rotation).to(value.dtype) for heads in (query, key))
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _rotated(heads: Tensor, rotation: Tensor) -> Tensor:
    """Rotary embedding of neighbouring pairs."""
    cos, sin = rotation
    real, imaginary = heads.float().unflatten(3, (-1, 2)).unbind(4)
    return torch.stack([real * cos - imaginary * sin, imaginary * cos + real * sin], dim=4).flatten(3)


def _rotation() -> Tensor:
    """Cosines and sines for each token's place, ``(2, 5 + 144, head width / 2)``."""
    text = torch.zeros(LENGTH, len(ROPE_AXES))
    text[:, 3] = torch.arange(LENGTH)
    image = torch.zeros(GRID, GRID, len(ROPE_AXES))
    image[..., 1] = torch.arange(GRID)[:, None]
    image[..., 2] = torch.arange(GRID)[None, :]
    places = torch.cat([text, image.flatten(0, 1)])
    angles = [
        places[:, axis, None] * ROPE_BASE ** (-torch.arange(0, width, 2) / width)
        for axis, width in enumerate(ROPE_AXES)
    ]
    return torch.stack([torch.cat(angles, dim=1).cos(), torch.cat(angles, dim=1).sin()])
