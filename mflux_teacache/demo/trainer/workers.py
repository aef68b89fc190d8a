"""The processes that train together, one for each GPU: ``torchrun --nproc-per-node N -m ...``, or one process alone."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed, nn

_AGREE_EVERY = 20  # steps
_WARM_UP = 0.02  # of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """This process among them.

    Attributes:
        rank: 0 for the one that prints and writes.
        count: of processes.
        device: this one's.
        seed: of everything random.
    """

    rank: int
    count: int
    device: torch.device
    seed: int

    @classmethod
    def start(cls, device: torch.device, seed: int) -> Workers:
        """Join the others, if ``torchrun`` started us; with CUDA each takes a GPU of its own."""
        rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        is_fast = device.type == "cuda"
        if is_fast:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        if count > 1:
            distributed.init_process_group("nccl" if is_fast else "gloo")
        torch.manual_seed(seed)  # the same weights everywhere
        return cls(rank=rank, count=count, device=device, seed=seed)

    @property
    def is_fast(self) -> bool:
        return bool(self.device.type == "cuda")

    def generator(self, purpose: int) -> torch.Generator:
        """Random numbers of this process's own."""
        return torch.Generator(self.device).manual_seed(1_000_003 * self.seed + 1009 * purpose + self.rank)

    def say(self, text: str) -> None:
        if self.rank == 0:
            print(text, flush=True)

    def average_gradients(self, model: nn.Module) -> None:
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        parts = (together / self.count).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def shares(
        self, *, minutes: float, begun: float, before: float = 0.0, pause: float | None = None
    ) -> Iterator[float]:
        """Which share of a run has passed, step by step, as the first process has it, until the run or this part ends.

        Args:
            minutes: of the whole run.
            begun: when this part began, of ``time.monotonic()``.
            before: minutes of earlier parts.
            pause: end this part after so many minutes.
        """
        step = 0
        share = before / minutes
        end = 1.0 if pause is None else min(1.0, (before + pause) / minutes)
        while share < end:
            yield share
            step += 1
            if self.count == 1 or step % _AGREE_EVERY == 0:
                share = self._agreed((before + (time.monotonic() - begun) / 60) / minutes)

    def _agreed(self, value: float) -> float:
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return float(shared.item())

    def finish(self) -> None:
        if self.count > 1:
            distributed.barrier()
            distributed.destroy_process_group()


def arguments(
    module: str, description: str | None, *, minutes: float, batch: int, learning_rate: float
) -> argparse.ArgumentParser:
    """A parser of what every training takes, with its defaults."""
    parser = argparse.ArgumentParser(prog=f"python -m mflux_teacache.demo.trainer.{module}", description=description)
    parser.add_argument("--sprites", type=Path, required=True, metavar="FILE", help="of emoji.py")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="weights, .safetensors")
    parser.add_argument("--minutes", type=float, default=minutes, help="of the whole run (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=batch, help="scenes in a step of a process (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=learning_rate, help="the highest (default: %(default)s)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"), help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    return parser


def cosine(share: float) -> float:
    """Of the highest learning rate, after this share of a run: a linear rise, then half a cosine to 0."""
    return min(1.0, share / _WARM_UP) * (1 + math.cos(math.pi * share)) / 2
