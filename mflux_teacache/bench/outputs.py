"""The files that a measurement writes: named on the command line, and looked at before anything is measured."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.output_files import add_output, check_output


def add_outputs(group: argparse._ArgumentGroup, **helps: str) -> None:
    """An option for each file that can be written: JSON, or else a PNG."""
    for name, text in helps.items():
        add_output(group, f"--{name}", help=text)
    group.set_defaults(outputs=tuple(helps))


def outputs(args: argparse.Namespace) -> dict[str, Path]:
    """The files that are asked for, by their options.

    Raises:
        OptionError: one that cannot be written, two that are one, or one that holds what is read or mflux has drawn.
    """
    from mflux_teacache.image_record.kept import check_is_no_image_of_mflux  # it loads mlx

    asked: dict[str, Path] = {}
    inputs = list(_inputs(args))
    for name in args.outputs:
        option, path = f"--{name}", getattr(args, name)
        if path is None:
            continue
        check_output(option, path, ".json" if name == "json" else ".png", inputs=inputs)
        check_is_no_image_of_mflux(option, path)
        for other, taken in asked.items():
            if taken.resolve() == path.resolve():
                raise OptionError(f"{other} and {option} both are {taken}. Give each a file of its own.")
        asked[option] = path
    return asked


def _inputs(args: argparse.Namespace) -> Iterator[Path]:
    """What the command may read; a number of prompts or the name of a model is a file that is not there."""
    named = [getattr(args, name, None) for name in ("model", "prompts", "image_path")]
    for text in (*named, *(getattr(args, "lora_paths", None) or ())):
        if isinstance(text, str):
            yield Path(text)
