"""Trains the demo's model: ``python -m mflux_teacache.demo.trainer.train --output FILE`` on a CUDA GPU.

Needs PyTorch, which nothing else here does. Rectified flow (https://arxiv.org/abs/2209.03003) on scenes that
are drawn once into the GPU's memory; the weights that are kept are a moving average. Writes the weight file,
and beside it a picture: samples above the scenes that their captions describe. The weights that ship are of 9 minutes
on one H100: 35,182 steps, held-out loss 0.0485, samples at 35.1 dB from the closest scene that their caption allows.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from mflux_teacache.demo.trainer import judge, scenes
from mflux_teacache.demo.trainer.torch_codec import Codec
from mflux_teacache.demo.trainer.torch_model import TinyFlux
from mflux_teacache.demo.vocabulary import EMPTY_PROMPT
from mflux_teacache.pieces.output_files import replace_file

CAPTION_DROPOUT = 0.12

_FIT_SCENES = 4096
_HELD_OUT_SCENES = 2048
_JUDGED_SCENES = 32
_DRAWN_AT_ONCE = 512

_WARM_UP = 0.02  # of the run
_GRADIENT_NORM = 1.0
_AVERAGE_EVERY = 10  # steps
_AVERAGE_WEIGHT = 0.01
_REPORT_SECONDS = 20.0
_CLOSING_SECONDS = 20.0  # sampling and writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to train on, and for how long.

    Attributes:
        minutes: from the program's start to its end; drawing and compiling take about one of them.
        batch: scenes in a step.
        pool: scenes to draw; each takes 16 KiB of the GPU's memory.
        learning_rate: the highest of a cosine schedule.
        whitening: of the codec, 0 to 1 (``Codec.fit``).
        device: PyTorch's. Without CUDA nothing is compiled and all is float32: for trying out.
        seed: of everything random.
    """

    minutes: float
    batch: int
    pool: int
    learning_rate: float
    whitening: float
    device: torch.device
    seed: int

    @property
    def fast(self) -> bool:
        return bool(self.device.type == "cuda")

    def generator(self, purpose: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(1000 * self.seed + purpose)


class Captioned(NamedTuple):
    """Latents ``(scenes, 64, 128)`` in float16, and tokens ``(scenes, 24)``."""

    latents: Tensor
    tokens: Tensor


class Batch(NamedTuple):
    """What one loss is taken on: latents, to be mixed with the noise by sigma ``(scenes,)``, and their tokens."""

    latents: Tensor
    tokens: Tensor
    sigma: Tensor
    noise: Tensor


class Trained(NamedTuple):
    """The averaged model, the codec that its latents are for, and how many steps were made."""

    model: TinyFlux
    codec: Codec
    steps: int


def train(settings: Settings) -> Trained:
    """Train for the given time; prints the held-out loss as it goes."""
    begun = time.monotonic()
    generator = settings.generator(0)
    codec = Codec.fit(_pictures(min(_FIT_SCENES, settings.pool), generator), settings.whitening)
    pool = drawn(settings.pool, codec, generator)
    held_out = noised(drawn(min(_HELD_OUT_SCENES, settings.pool), codec, settings.generator(1)), settings.generator(2))
    print(f"{settings.pool} scenes drawn after {time.monotonic() - begun:.0f} s", flush=True)

    torch.manual_seed(settings.seed)
    model = TinyFlux().to(settings.device)
    average = copy.deepcopy(model).requires_grad_(False)
    # Of CUDA graphs: a model so small waits for its kernels to be launched.
    forward = torch.compile(model, mode="reduce-overhead") if settings.fast else model
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=settings.fast)
    steps, next_report = 0, 0.0
    for share in _shares_of(begun + 60 * settings.minutes - _CLOSING_SECONDS):
        _set_learning_rate(optimizer, settings.learning_rate * cosine(share))
        batch = noised(without_some_captions(_chosen(pool, settings.batch, generator), generator), generator)
        loss = flow_loss(forward, batch, codec, settings.fast)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), _GRADIENT_NORM)
        optimizer.step()
        steps += 1
        if steps % _AVERAGE_EVERY == 0:
            _move_towards(average, model, max(_AVERAGE_WEIGHT, 1 / (1 + steps / _AVERAGE_EVERY)))
        if time.monotonic() - begun >= next_report:
            next_report = time.monotonic() - begun + _REPORT_SECONDS
            with torch.no_grad():
                expected = flow_loss(average, held_out, codec, settings.fast)
            print(
                f"step {steps:6d}  {time.monotonic() - begun:5.0f} s  {share:4.0%}  "
                f"loss {loss.item():.4f}  held out {expected.item():.4f}",
                flush=True,
            )
    return Trained(average, codec, steps)


def drawn(count: int, codec: Codec, generator: torch.Generator) -> Captioned:
    """Random scenes, encoded."""
    latents, tokens = [], []
    for first in range(0, count, _DRAWN_AT_ONCE):
        batch = scenes.sample(min(_DRAWN_AT_ONCE, count - first), generator)
        latents.append(codec.encode(scenes.render(batch)).half())
        tokens.append(scenes.tokens(batch))
    return Captioned(torch.cat(latents), torch.cat(tokens))


def _pictures(count: int, generator: torch.Generator) -> Tensor:
    return scenes.render(scenes.sample(count, generator))


def _chosen(pool: Captioned, count: int, generator: torch.Generator) -> Captioned:
    indices = torch.randint(len(pool.tokens), (count,), generator=generator, device=pool.tokens.device)
    return Captioned(pool.latents[indices], pool.tokens[indices])


def without_some_captions(batch: Captioned, generator: torch.Generator) -> Captioned:
    """The empty prompt in the place of some: guidance needs to know what the model draws without a caption."""
    device = batch.tokens.device
    dropped = torch.rand(len(batch.tokens), 1, generator=generator, device=device) < CAPTION_DROPOUT
    return Captioned(batch.latents, torch.where(dropped, torch.tensor(EMPTY_PROMPT, device=device), batch.tokens))


def noised(batch: Captioned, generator: torch.Generator) -> Batch:
    """With noise and sigmas: logit-normal, and one in ten uniform.

    mflux's steps for 64 tokens have logits of sigma around 1.8. Theirs here are around 1.0, because a step's
    error counts by its width, and those at high sigma are narrow.
    """
    latents = batch.latents.float()
    size, device = len(latents), latents.device
    logits = 1.0 + 1.4 * torch.randn(size, generator=generator, device=device)
    uniform = torch.rand(size, generator=generator, device=device)
    is_uniform = torch.rand(size, generator=generator, device=device) < 0.1
    sigma = torch.where(is_uniform, uniform, logits.sigmoid())
    noise = torch.randn(latents.shape, generator=generator, device=device)
    return Batch(latents, batch.tokens, sigma, noise)


def flow_loss(model: nn.Module, batch: Batch, codec: Codec, fast: bool) -> Tensor:
    """Mean squared error of the velocity, noise minus latents, its channels weighted as in pixels."""
    noisy = torch.lerp(batch.latents, batch.noise, batch.sigma[:, None, None])
    with torch.autocast(batch.latents.device.type, torch.bfloat16, enabled=fast):
        velocity = model(noisy, batch.sigma, batch.tokens)
    errors = velocity.float() - (batch.noise - batch.latents)
    return (errors.square() * codec.loss_weights).mean()


def cosine(share: float) -> float:
    """Of the highest learning rate, after this share of the run: a linear rise, then half a cosine to 0."""
    return min(1.0, share / _WARM_UP) * (1 + math.cos(math.pi * share)) / 2


def _shares_of(deadline: float) -> Iterator[float]:
    """Which share of the time from the second step on has passed, until all has; compiling is in the first."""
    yield 0.0
    begun = time.monotonic()
    while (now := time.monotonic()) < deadline:
        yield (now - begun) / (deadline - begun)


def _set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _move_towards(average: nn.Module, model: nn.Module, weight: float) -> None:
    for kept, current in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(current.detach(), weight)


def save(path: Path, trained: Trained) -> None:
    """The demo's weight file: half precision but for the codec's mean and scale."""
    weights = {name: tensor.half() for name, tensor in trained.model.state_dict().items()}
    weights["codec.mean"], weights["codec.scale"] = trained.codec.mean, trained.codec.scale
    weights["codec.basis"] = trained.codec.basis.half().contiguous()
    replace_file(path, as_safetensors(weights, metadata={"steps": str(trained.steps)}))


def _judge(trained: Trained, settings: Settings, sheet: Path) -> None:
    generator = settings.generator(3)
    batch = scenes.sample(min(_JUDGED_SCENES, settings.pool), generator)
    pictures = trained.codec.decode(judge.draw(trained.model, scenes.tokens(batch), generator))
    judge.write_sheet(sheet, pictures, scenes.render(batch))
    ceiling = judge.psnr(trained.codec.decode(trained.codec.encode(scenes.render(batch))), scenes.render(batch))
    closest = judge.psnr(pictures, judge.closest(pictures, batch))
    print(f"PSNR to the closest scene: {spread(closest)}; of the codec alone: {spread(ceiling)}")


def spread(values: Tensor) -> str:
    return f"mean {values.mean():.1f} dB, worst {values.min():.1f} dB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mflux_teacache.demo.trainer.train", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="weights, .safetensors")
    parser.add_argument("--minutes", type=float, default=9.1, help="until the program ends (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=512, help="scenes in a step (default: %(default)s)")
    parser.add_argument("--pool", type=int, default=1_000_000, help="scenes to draw (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3, help="the highest (default: %(default)s)")
    parser.add_argument("--whitening", type=float, default=0.5, help="of the codec, 0 to 1 (default: %(default)s)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"), help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    args = parser.parse_args()
    output: Path = args.output
    torch.set_float32_matmul_precision("high")
    settings = Settings(
        minutes=args.minutes,
        batch=args.batch,
        pool=args.pool,
        learning_rate=args.learning_rate,
        whitening=args.whitening,
        device=args.device,
        seed=args.seed,
    )
    trained = train(settings)
    save(output, trained)
    print(f"{trained.steps} steps; weights in {output}", flush=True)
    _judge(trained, settings, output.with_suffix(".png"))


if __name__ == "__main__":
    main()
