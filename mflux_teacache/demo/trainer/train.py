"""Trains the demo's transformer: ``python -m mflux_teacache.demo.trainer.train`` (``--help`` lists its files).

Rectified flow (https://arxiv.org/abs/2209.03003) on scenes that are drawn once into the GPU's memory and encoded by the
trained codec; the weights that are kept are a moving average. ``torchrun`` starts it on several GPUs. A run may be
paused into a checkpoint and continued.
"""

from __future__ import annotations

import argparse
import copy
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mflux_teacache.demo.trainer import scenes, train_codec, weights
from mflux_teacache.demo.trainer.render import Renderer
from mflux_teacache.demo.trainer.torch_codec import Codec
from mflux_teacache.demo.trainer.torch_model import TinyFlux
from mflux_teacache.demo.trainer.workers import Workers, arguments, cosine
from mflux_teacache.demo.vocabulary import EMPTY_PROMPT
from mflux_teacache.pieces.output_files import replace_file

CAPTION_DROPOUT = 0.1

_HELD_OUT = 1024
_DRAWN_AT_ONCE = 256
_GRADIENT_NORM = 1.0
_AVERAGE_EVERY, _AVERAGE_WEIGHT = 10, 0.01  # steps
_REPORT_SECONDS = 20.0


class Captioned(NamedTuple):
    """Latent tokens ``(scenes, 144, 128)`` in float16, and captions ``(scenes, 5, 4)``."""

    latents: Tensor
    tokens: Tensor


class Batch(NamedTuple):
    """What one loss is taken on: latents, to be mixed with the noise by sigma ``(scenes,)``, and their captions."""

    latents: Tensor
    tokens: Tensor
    sigma: Tensor
    noise: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        minutes: of all parts together, drawing the scenes aside.
        pause: end this part after so many minutes; ``None`` = go on to the end.
        batch: scenes in a step of each process.
        pool: scenes that each process draws; one takes 36 KiB of its GPU's memory.
        learning_rate: the highest of a cosine schedule.
    """

    minutes: float
    pause: float | None
    batch: int
    pool: int
    learning_rate: float


class Training:
    """A model, its average and the optimizer's state: what a checkpoint holds."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.model = TinyFlux().to(workers.device)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=workers.is_fast
        )
        self.steps, self.minutes = 0, 0.0

    def run(self, pool: Captioned, held_out: Batch, settings: Settings) -> None:
        """Train for as long as the settings say; prints the held-out loss as it goes."""
        begun, next_report = time.monotonic(), 0.0
        workers = self.workers
        generator = workers.generator(100 + self.steps)
        # Of CUDA graphs: a model so small waits for its kernels to be launched.
        forward = torch.compile(self.model, mode="reduce-overhead") if workers.is_fast else self.model
        for share in workers.shares(minutes=settings.minutes, begun=begun, before=self.minutes, pause=settings.pause):
            batch = noised(without_some_captions(_chosen(pool, settings.batch, generator), generator), generator)
            loss = self._step(forward, batch, settings.learning_rate * cosine(share))
            passed = time.monotonic() - begun
            if workers.rank == 0 and passed >= next_report:
                next_report = passed + _REPORT_SECONDS
                losses = (
                    f"loss {loss.item():.4f}  held out {flow_loss(self.average, held_out, workers.is_fast).item():.4f}"
                )
                workers.say(f"step {self.steps:6d}  {passed:5.0f} s  {share:4.0%}  {losses}")
        self.minutes += (time.monotonic() - begun) / 60

    def _step(self, forward: nn.Module, batch: Batch, learning_rate: float) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss = flow_loss(forward, batch, self.workers.is_fast)
        self.optimizer.zero_grad()
        loss.backward()
        self.workers.average_gradients(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), _GRADIENT_NORM)
        self.optimizer.step()
        self.steps += 1
        if self.steps % _AVERAGE_EVERY == 0:
            self._average()
        return loss

    def _average(self) -> None:
        weight = max(_AVERAGE_WEIGHT, 1 / (1 + self.steps / _AVERAGE_EVERY))
        kept, current = list(self.average.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(kept, [parameter.detach() for parameter in current], weight)

    def save(self, path: Path) -> None:
        state = {name: getattr(self, name).state_dict() for name in ("model", "average", "optimizer")}
        content = io.BytesIO()
        torch.save(state | {"steps": self.steps, "minutes": self.minutes}, content)
        replace_file(path, content.getvalue())

    def resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.workers.device)
        for name in ("model", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.steps, self.minutes = state["steps"], state["minutes"]


def drawn(count: int, codec: Codec, renderer: Renderer, generator: torch.Generator, *, is_fast: bool) -> Captioned:
    """Random scenes, encoded."""
    latents, tokens = [], []
    for first in range(0, count, _DRAWN_AT_ONCE):
        batch = scenes.sample(min(_DRAWN_AT_ONCE, count - first), generator)
        pictures = renderer.render(batch, generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast(generator.device.type, torch.bfloat16, enabled=is_fast):
            latents.append(codec.tokens(pictures).half())
        tokens.append(batch.tokens)
    return Captioned(torch.cat(latents), torch.cat(tokens))


def _chosen(pool: Captioned, count: int, generator: torch.Generator) -> Captioned:
    indices = torch.randint(len(pool.tokens), (count,), generator=generator, device=pool.tokens.device)
    return Captioned(pool.latents[indices], pool.tokens[indices])


def without_some_captions(batch: Captioned, generator: torch.Generator) -> Captioned:
    """The empty prompt in the place of some: guidance needs to know what the model draws without a caption."""
    device = batch.tokens.device
    dropped = torch.rand(len(batch.tokens), 1, 1, generator=generator, device=device) < CAPTION_DROPOUT
    return Captioned(batch.latents, torch.where(dropped, torch.tensor(EMPTY_PROMPT, device=device), batch.tokens))


def noised(batch: Captioned, generator: torch.Generator) -> Batch:
    """With noise and sigmas: logit-normal, and one in ten uniform.

    mflux's steps for 144 tokens have logits of sigma around 1.8. Theirs here are around 1.0, because a step's
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


def flow_loss(model: nn.Module, batch: Batch, is_fast: bool) -> Tensor:
    """Mean squared error of the velocity, noise minus latents."""
    noisy = torch.lerp(batch.latents, batch.noise, batch.sigma[:, None, None])
    with torch.autocast(batch.latents.device.type, torch.bfloat16, enabled=is_fast):
        velocity = model(noisy, batch.sigma, batch.tokens)
    return (velocity.float() - (batch.noise - batch.latents)).square().mean()


def train(workers: Workers, renderer: Renderer, codec: Codec, checkpoint: Path | None, settings: Settings) -> Training:
    """A run, or a part of it that begins at a checkpoint."""
    training = Training(workers)
    if checkpoint is not None:
        training.resume(checkpoint)
    begun = time.monotonic()
    pool = drawn(settings.pool, codec, renderer, workers.generator(10 + training.steps), is_fast=workers.is_fast)
    seen = drawn(min(_HELD_OUT, settings.pool), codec, renderer, workers.generator(1), is_fast=workers.is_fast)
    workers.say(f"{settings.pool} scenes in each of {workers.count} processes after {time.monotonic() - begun:.0f} s")
    training.run(pool, noised(seen, workers.generator(2)), settings)
    return training


def _parser() -> argparse.ArgumentParser:
    parser = arguments("train", __doc__, minutes=40.0, batch=192, learning_rate=1.8e-3)
    parser.add_argument("--codec", type=Path, required=True, metavar="FILE", help="of train_codec.py")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="written at the end")
    parser.add_argument("--resume", action="store_true", help="begin at the checkpoint")
    parser.add_argument("--pause", type=float, help="minutes of this part (default: to the end)")
    parser.add_argument("--pool", type=int, default=250_000, help="scenes that a process draws (default: %(default)s)")
    return parser


def main() -> None:
    args = _parser().parse_args()
    workers = Workers.start(args.device, args.seed)
    renderer, codec = Renderer(args.sprites, workers.device), train_codec.load(args.codec, workers.device)
    settings = Settings(
        minutes=args.minutes, pause=args.pause, batch=args.batch, pool=args.pool, learning_rate=args.learning_rate
    )
    training = train(workers, renderer, codec, args.checkpoint if args.resume else None, settings)
    if workers.rank == 0:
        training.save(args.checkpoint)
        weights.export(args.output, training.average, codec, metadata={"steps": str(training.steps)})
        print(f"{training.steps} steps in {training.minutes:.1f} minutes; weights in {args.output}", flush=True)
    workers.finish()


if __name__ == "__main__":
    main()
