"""Trains the demo's codec: ``python -m mflux_teacache.demo.trainer.train_codec --sprites FILE --output FILE``.

An autoencoder of pictures and their edges. Noise on the latents, in each channel's own units, is part of the training:
the decoder forgives what the transformer gets slightly wrong, and the encoder spreads over the channels what matters.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mflux_teacache.demo.trainer import scenes, weights
from mflux_teacache.demo.trainer.render import Renderer
from mflux_teacache.demo.trainer.torch_codec import Codec
from mflux_teacache.demo.trainer.workers import Workers, arguments, cosine

NOISE = 0.3  # the strongest, in standard deviations of a channel

_EDGE_WEIGHT = 0.5
_REPORT_EVERY = 200
_MEASURED, _HELD_OUT = 1024, 256
_CHUNK = 64


def train(workers: Workers, renderer: Renderer, *, minutes: float, batch: int, learning_rate: float) -> Codec:
    begun = time.monotonic()
    codec = Codec().to(workers.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(codec.parameters(), betas=(0.9, 0.95), weight_decay=1e-3, fused=workers.is_fast)
    generator = workers.generator(0)
    for step, share in enumerate(workers.shares(minutes=minutes, begun=begun)):
        optimizer.param_groups[0]["lr"] = learning_rate * cosine(share)
        pictures = _pictures(renderer, batch, generator)
        with torch.autocast(workers.device.type, torch.bfloat16, enabled=workers.is_fast):
            restored = codec.decoder(noisy(codec.encoder(pictures).float(), generator))
        error = loss(restored.float(), pictures)
        optimizer.zero_grad()
        error.backward()
        workers.average_gradients(codec)
        nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        if step % _REPORT_EVERY == 0:
            workers.say(f"step {step:6d}  {time.monotonic() - begun:5.0f} s  {share:4.0%}  loss {error.item():.4f}")
    trained: Codec = codec.requires_grad_(False)
    return trained


def noisy(latents: Tensor, generator: torch.Generator) -> Tensor:
    """With noise of a strength of its own for each picture, from none to ``NOISE`` times a channel's deviation."""
    deviation = latents.std(dim=(0, 2, 3), keepdim=True)
    strength = torch.rand(len(latents), 1, 1, 1, generator=generator, device=latents.device)
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    return latents + NOISE * strength * noise * deviation


def loss(restored: Tensor, pictures: Tensor) -> Tensor:
    """Absolute and squared errors, and those of the differences between neighbouring pixels."""
    error = restored - pictures
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.square().mean() + _EDGE_WEIGHT * edges


def measure(codec: Codec, renderer: Renderer, generator: torch.Generator) -> None:
    """Give the codec the statistics that normalise its latents."""
    chunks = [codec.encoder(_pictures(renderer, _CHUNK, generator)) for _ in range(_MEASURED // _CHUNK)]
    codec.bn.measure(torch.cat(chunks))


def psnr(codec: Codec, renderer: Renderer, generator: torch.Generator, *, noise: float = 0.0) -> Tensor:
    """In dB, of each of some pictures, with noise on the normalised latents."""
    measured = []
    for _ in range(_HELD_OUT // _CHUNK):
        pictures = _pictures(renderer, _CHUNK, generator)
        tokens = codec.tokens(pictures)
        tokens = tokens + noise * torch.randn(tokens.shape, generator=generator, device=tokens.device)
        measured.append((codec.pictures(tokens).clamp(-1, 1) - pictures).square().mean((1, 2, 3)))
    return 10 * torch.log10(4 / torch.cat(measured))


def load(path: Path, device: torch.device) -> Codec:
    """A trained codec, to use: nothing in it changes any more."""
    codec = Codec()
    codec.load_state_dict(load_file(path))
    loaded: Codec = codec.to(device, memory_format=torch.channels_last).requires_grad_(False)
    return loaded


def _pictures(renderer: Renderer, count: int, generator: torch.Generator) -> Tensor:
    pictures = renderer.render(scenes.sample(count, generator), generator)
    return pictures.contiguous(memory_format=torch.channels_last)


def main() -> None:
    args = arguments("train_codec", __doc__, minutes=2.0, batch=48, learning_rate=1.5e-3).parse_args()
    workers = Workers.start(args.device, args.seed)
    renderer = Renderer(args.sprites, workers.device)
    codec = train(workers, renderer, minutes=args.minutes, batch=args.batch, learning_rate=args.learning_rate)
    if workers.rank == 0:
        measure(codec, renderer, workers.generator(1))
        for noise in (0.0, 0.2):
            decibels = psnr(codec, renderer, workers.generator(2), noise=noise)
            print(f"held out, noise {noise}: mean {decibels.mean():.1f} dB, worst {decibels.min():.1f} dB", flush=True)
        weights.write(args.output, codec)
    workers.finish()


if __name__ == "__main__":
    main()
