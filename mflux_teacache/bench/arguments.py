"""The options that are no field of settings as they are: the size of images, and the files to write."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.option_types import file_path
from mflux_teacache.pieces.output_files import check_output


def add_size(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--size", metavar="WxH", help="pixels (default: 1024x1024; the demo's model 128x128)")


def size(text: str | None) -> dict[str, Any]:
    """Of ``--size``, the fields of ``ImageSettings``; none if it is left out.

    Raises:
        OptionError: it is not two numbers with an x between them.
    """
    if text is None:
        return {}
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise OptionError(f"--size is {text}; it must be width x height in pixels, such as 1024x1024.")
    return {"width": int(width), "height": int(height)}


def add_outputs(group: argparse._ArgumentGroup, **helps: str) -> None:
    """An option for each file that can be written: JSON, or else a PNG."""
    for name, text in helps.items():
        group.add_argument(f"--{name}", type=file_path, metavar="FILE", help=text)
    group.set_defaults(outputs=tuple(helps))


def outputs(args: argparse.Namespace) -> dict[str, Path]:
    """The files that are asked for, by their options.

    Raises:
        OptionError: one that cannot be written, or two that are one.
    """
    asked: dict[str, Path] = {}
    for name in args.outputs:
        option, path = f"--{name}", getattr(args, name)
        if path is None:
            continue
        check_output(option, path, ".json" if name == "json" else ".png")
        for other, taken in asked.items():
            if taken.resolve() == path.resolve():
                raise OptionError(f"{other} and {option} both are {taken}. Give each a file of its own.")
        asked[option] = path
    return asked
