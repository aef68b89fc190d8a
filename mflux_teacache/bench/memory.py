"""``mflux-teacache bench memory``: whether anything is kept of one image when the next one is made."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterator
from importlib.metadata import version

from mflux_teacache.bench.plugin_settings import parse
from mflux_teacache.bench.settings import ImageSettings, add_options, check_least

IMAGES = 200
STEPS = 28
SETTING = "teacache thresh=0.12"
SHOWN = (2, 10, 50, 100)  # and the last one


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``memory`` to the measurements of ``mflux-teacache bench``."""
    parser = subparsers.add_parser(
        "memory",
        help="make many images in a row, and say what memory MLX holds after them",
        description="Makes images in a row with the demo's model and one plugin, each with another seed, and prints "
        "the active memory of MLX. Exit code 1 if it is more after the last image than after the second, beyond what "
        "MLX before 0.32 keeps itself.",
    )
    parser.add_argument("--images", type=int, default=IMAGES, metavar="N", help="3 at least (default: %(default)s)")
    add_options(parser, "steps")
    parser.add_argument(
        "--setting",
        default=SETTING,
        metavar="'NAME KEY=VALUE ...'",
        help="a plugin with its options (default: '%(default)s')",
    )
    parser.set_defaults(run=run, steps=STEPS)


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns the exit code.

    Raises:
        OptionError: fewer images than 3, or a setting that is not allowed.
        UnknownPlugin, BrokenPlugin, Refused: of the setting.
    """
    check_least("--images", args.images, 3, ": the first one warms up")
    shown = {*SHOWN, args.images}
    second = last = 0
    for number, last in enumerate(active_memory(args.images, args.steps, args.setting), 1):
        second = last if number == 2 else second
        if number in shown:
            print(f"after image {number:>3}: {last} bytes", flush=True)
    allowed = kept_by_mlx() * (args.images - 2)
    print(
        f"growth from image 2 to {args.images}: {last - second} bytes"
        f"{f', of which MLX before 0.32 itself may keep {allowed}' if allowed else ''}"
    )
    return 1 if last - second > allowed else 0


def kept_by_mlx() -> int:
    """Bytes that MLX may keep of each image, however large that is.

    Before 0.32 it keeps constants of functions that were compiled and let go of, in plain mflux too: up to 900 bytes of
    an image in what was measured. A residual of the tiniest model in the tests has 4096.
    """
    return 0 if tuple(map(int, version("mlx").split(".")[:2])) >= (0, 32) else 2048


def active_memory(images: int, steps: int, setting: str) -> Iterator[int]:
    """Bytes after each image. Python's garbage is collected first: mflux's scheduler and config hold each other."""
    parsed = parse(setting)

    import mlx.core as mx

    from mflux_teacache.bench.subjects import subject_of
    from mflux_teacache.bench.variants import with_setting

    subject = subject_of(ImageSettings(steps=steps))
    with subject.load() as model, with_setting(parsed).attach(model):
        for seed in range(images):
            model.generate_image(**{**subject.arguments, "seed": seed})
            gc.collect()
            yield mx.get_active_memory()
