"""The options by which every measurement of ``bench`` names a model, and the size and guidance of its images."""

from __future__ import annotations

import argparse
from typing import Any

from mflux_teacache.bench.settings import BITS
from mflux_teacache.errors import OptionError


def add_model(group: argparse._ArgumentGroup) -> None:
    """A real checkpoint; without one, the demo's model."""
    group.add_argument("--model", metavar="NAME", help="a real checkpoint, as mflux's --model has it")
    group.add_argument("--base-model", metavar="NAME", help="what a custom checkpoint is based on, as in mflux")
    group.add_argument(
        "-q", "--quantize", type=int, metavar="BITS", help=f"bits per weight: {', '.join(map(str, BITS))}"
    )


def add_image(group: argparse._ArgumentGroup) -> None:
    """What is usual for the model, if it is left out."""
    group.add_argument("--size", metavar="WxH", help="pixels (default: 1024x1024; the demo's model 128x128)")
    group.add_argument("--guidance", type=float, metavar="FLOAT", help="guidance scale (default: usual for the model)")


def read(args: argparse.Namespace) -> dict[str, Any]:
    """What the options of ``add_model`` and ``add_image`` say, as fields of ``Settings``.

    Raises:
        OptionError: ``--size`` is not two numbers with an x between them.
    """
    width, height = _parse_size(args.size)
    return {
        "model": args.model,
        "base_model": args.base_model,
        "quantize": args.quantize,
        "width": width,
        "height": height,
        "guidance": args.guidance,
    }


def _parse_size(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise OptionError(f"--size is {text}; it must be width x height in pixels, such as 1024x1024.")
    return int(width), int(height)
