"""``mflux-teacache tune --demo`` on a tiny model with random weights, as a program that ``mlx.launch`` can start."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import tiny_models

from mflux_teacache.cli.own.main import main
from mflux_teacache.demo import model as demo

# A run that takes seconds.
WORDS = ("tune", "--demo", "--steps", "12", "--size", "32x32", "--speedups", "1.5,3")


@contextlib.contextmanager
def tiny() -> Iterator[Any]:
    """Under the name of the demo's model."""
    with tiny_models.float32():
        yield tiny_models.flux2(config=demo.model_config(), blocks=(1, 1))


if __name__ == "__main__":
    demo.tiny_klein = tiny
    main([*WORDS, *sys.argv[1:]])
