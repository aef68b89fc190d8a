"""A server in a process of its own: threads that answer requests with one attached model. Prints what came of them.

    python serving.py FAMILY THREADS REQUESTS

A process of its own, since MLX's CPU backend may abort at exit after plain mflux in two threads.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import cases_z_image
import mlx.core as mx
import numpy as np
import tiny_models

from mflux_teacache import attach

MODELS = {
    "flux1": tiny_models.flux1,
    "flux2": tiny_models.flux2,
    "z_image": lambda: cases_z_image.CASES["z-image-guidance"].make(Path())[0],
}
STRATEGIES: dict[str, dict[str, Any]] = {
    "teacache": {"thresh": 0.3, "coefficients": [1.0, 0.0]},
    "first-block-cache": {"thresh": 0.5},
    "easycache": {"thresh": 0.3},
    "taylorseer": {"skip_first": 2, "interval": 3},
    "schedule": {"every": 2, "forecast": 1},
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "seed": tuple(range(5)),
    "prompt": ("a cat", "a dog", "two very red apples"),
    "num_inference_steps": (4, 6, 9),
    "height": (32, 48, 64),
    "width": (32, 48),
    "guidance": (1.0, 4.0),
}

Request = dict[str, Any]


def make(model: Any, request: Request) -> bytes:
    return np.asarray(model.generate_image(**request).image).tobytes()


def serve(model: Any, requests: list[Request], threads: int) -> tuple[list[bytes | None], list[str]]:
    """The images, and what went wrong."""
    images: list[bytes | None] = [None] * len(requests)
    wrong: list[str] = []
    waiting = list(enumerate(requests))

    def work() -> None:
        while waiting:
            try:
                place, request = waiting.pop()
            except IndexError:  # another thread took the last one
                break
            try:
                images[place] = make(model, request)
            except BaseException as error:  # noqa: BLE001 - it is told
                wrong.append(f"{type(error).__name__}: {error}")
        if hasattr(mx, "clear_streams"):
            mx.clear_streams()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return images, wrong


def memory() -> int:
    gc.collect()
    return int(mx.get_active_memory())


def main(family: str, threads: int, count: int) -> dict[str, Any]:
    chance = random.Random(family)
    model = MODELS[family]()
    found: dict[str, Any] = {"made": 0, "unlike_their_own_run": 0, "wrong": [], "missing_in_stats": 0, "skipped": 0}
    memories = []
    for name, options in STRATEGIES.items():
        requests = [
            {option: chance.choice(values) for option, values in CHOICES.items()}
            for _ in range(count // len(STRATEGIES))
        ]
        with attach(model, name, **options):
            alone = [make(model, request) for request in requests]
        with attach(model, name, **options) as handle:
            images, wrong = serve(model, requests, threads)
            memories.append(memory())
        found["made"] += len(requests)
        found["unlike_their_own_run"] += sum(image != own for image, own in zip(images, alone, strict=True))
        found["wrong"] += wrong
        found["missing_in_stats"] += len(requests) - handle.stats.generations
        found["skipped"] += handle.stats.skipped_count
    found["memory"] = memories
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tiny_models.float32(), tiny_models.narrow():
        print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))), flush=True)
    os._exit(0)
