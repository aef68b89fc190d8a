"""What is to be measured: the model, its images, and what is done with them. All is checked before anything loads.

A field is declared once, with its option of the command line.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import count, product
from pathlib import Path
from typing import Any, Self

from mflux_teacache.bench import patterns
from mflux_teacache.bench.runs import Case, Setting
from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.input_files import Unreadable, open_file
from mflux_teacache.pieces.option_types import LARGEST_SEED
from mflux_teacache.records import Target

FAMILIES = ("flux1-dev", "flux2-klein-base-4b", "flux2-klein-base-9b", "qwen-image", "z-image", "fibo")
PEERS = ("mlx-teacache",)
BITS = (3, 4, 5, 6, 8)
STEPS = 20
COLUMNS = 6  # of the contact sheet
IMAGE_STRENGTH = 0.4  # mflux's default
LEAST_ACTIVE = 2  # steps that are run: with fewer there is none to skip


def option(help: str, default: Any = None, *, flags: tuple[str, ...] = (), least: int | None = None, **how: Any) -> Any:
    """A field that is an option of the command line too.

    Args:
        flags: its names, in place of the field's.
        least: the smallest whole number that it takes.
        how: more arguments of ``add_argument``.
    """
    if least is not None:
        how = {"type": int, "metavar": "INT", **how}
    if default is not None and "action" not in how:
        help = f"{help} (default: %(default)s)".lstrip()
    return field(default=default, metadata={"flags": flags, "least": least, "how": {**how, "help": help}})


def add_options(group: argparse._ActionsContainer, *names: str) -> None:
    """Add the options of these fields of ``SpeedSettings``."""
    declared = {known.name: known for known in fields(SpeedSettings)}
    for known in map(declared.__getitem__, names):
        flags = known.metadata["flags"] or (f"--{known.name.replace('_', '-')}",)
        group.add_argument(*flags, default=known.default, **known.metadata["how"])
    if "width" in names:
        group.add_argument("--width", "--height", action=_Side, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def check_least(option: str, value: int, least: int, why: str = "") -> None:
    """Raises ``OptionError`` for a smaller number."""
    if value < least:
        raise OptionError(f"{option} is {value}; it must be a whole number from {least}{why}.")


def check_seeds(option: str, first: int, count: int = 1) -> None:
    """Raises ``OptionError`` where one of so many seeds, which count up, is none that mflux can draw from."""
    largest = LARGEST_SEED + 1 - count
    if not 0 <= first <= largest:
        raise OptionError(f"{option} is {first}; it must be a whole number from 0 to {largest}.")


def check_picture(option: str, path: Path) -> None:
    """Raises ``OptionError`` for a file that is no image, or none that can be read."""
    import PIL.Image

    try:
        with open_file(path) as file, PIL.Image.open(file) as image:
            image.load()
    except (Unreadable, OSError, SyntaxError, ValueError) as error:
        raise OptionError(
            f"{option} is {path}, which cannot be read as an image: {error}. Name a PNG or JPEG."
        ) from error


def active_steps(asked: int, arguments: Mapping[str, Any]) -> int:
    """How many of the steps are run that an image is asked for with, by mflux's own rule.

    Args:
        arguments: of ``generate_image``; only those of an input image count.
    """
    if arguments.get("image_path") is None:
        return asked

    # This loads mlx and mflux, which takes seconds.
    from mflux_teacache.adapters.pipelines import for_image

    active = for_image(Target(pipeline=""), {**arguments, "num_inference_steps": asked}).active_steps
    assert active is not None, "the number of steps is known"
    return active


def asked_steps(active: int, arguments: Mapping[str, Any]) -> int:
    """The least number of steps to ask for so that so many are run; arguments as for ``active_steps``."""
    return next(asked for asked in count(active) if active_steps(asked, arguments) >= active)


class _Size(argparse.Action):
    """``--size 64x32`` is width and height."""

    def __call__(self, parser: object, namespace: object, values: Any, option_string: str | None = None) -> None:
        width, _, height = values.lower().partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            raise OptionError(f"--size is {values}; it must be width x height in pixels, such as 1024x1024.")
        vars(namespace).update(width=int(width), height=int(height))


class _Side(argparse.Action):
    """mflux's own names for what is ``--size`` here: no options, but with advice in place of argparse's message."""

    def __call__(self, parser: object, namespace: object, values: Any, option_string: str | None = None) -> None:
        side = values if values.isdecimal() else "1024"
        raise OptionError(
            f"{option_string} {values}: width and height are one option here. Use --size {side}x{side}, or any other "
            f"width x height in pixels."
        )


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Which model, and which image of it; ``None`` = what is usual for the model.

    Raises:
        OptionError: a value that is not allowed, or two that do not go together.
    """

    random_weights: str | None = option(
        f"a model of full size with random weights; no download. One of {', '.join(FAMILIES)}. It needs a checkout of "
        f"the repository",
        metavar="FAMILY",
    )
    blocks: int | None = option("with --random-weights: at most so many blocks in each list", type=int, metavar="INT")
    model: str | None = option("a real checkpoint, as mflux's --model has it", metavar="NAME")
    base_model: str | None = option("what a custom checkpoint is based on, as in mflux", metavar="NAME")
    quantize: int | None = option(
        f"bits per weight: {', '.join(map(str, BITS))}", flags=("-q", "--quantize"), type=int, metavar="BITS"
    )
    steps: int = option("denoising steps", STEPS, least=2)
    width: int | None = option(
        "pixels (default: 1024x1024; the demo's model 192x192)", flags=("--size",), action=_Size, metavar="WxH"
    )
    height: int | None = None  # of --size as well
    guidance: float | None = option("guidance scale (default: usual for the model)", type=float, metavar="FLOAT")
    lora_paths: tuple[str, ...] | None = option(
        "LoRAs of --model, as mflux has them: files, or names", nargs="*", metavar="PATH"
    )
    lora_scales: tuple[float, ...] | None = option("one for each (default: 1)", nargs="*", type=float, metavar="FLOAT")
    image_path: str | None = option("an image that each one of --model starts from, as in mflux", metavar="FILE")
    image_strength: float | None = option(
        f"how much of it stays, from 0 to 1 (default: {IMAGE_STRENGTH}, as in mflux)", type=float, metavar="FLOAT"
    )
    seed: int = option("", 42, type=int, metavar="INT")
    prompt: str | None = option("(default: one of ours)")

    @classmethod
    def of(cls, args: argparse.Namespace, **made: Any) -> Self:
        """What the command line says, but for what is made of it."""
        names = {known.name for known in fields(cls)}
        said: dict[str, Any] = {name: value for name, value in vars(args).items() if name in names}
        said |= {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
        return cls(**{**said, **made})

    def __post_init__(self) -> None:
        self._check_model()
        self._check_loras()
        for known in fields(self):
            if (least := known.metadata.get("least")) is not None:
                check_least(f"--{known.name.replace('_', '-')}", getattr(self, known.name), least)
        check_seeds("--seed", self.seed)
        if self.guidance is not None and not math.isfinite(self.guidance):
            raise OptionError(f"--guidance is {self.guidance}; it must be a finite number, such as 4.")
        for side in (self.width, self.height):
            if side is not None and (side < 16 or side % 16):
                raise OptionError(
                    f"--size {self.width}x{self.height} has a side of {side}; both must be multiples of 16, "
                    f"such as 1024x1024."
                )
        self._check_input_image()

    def _check_model(self) -> None:
        if self.random_weights is not None and self.random_weights not in FAMILIES:
            raise OptionError(
                f"--random-weights {self.random_weights} is not known. There are: {', '.join(FAMILIES)}. "
                f"Any other model of mflux can be measured with its weights: --model {self.random_weights}"
            )
        if self.random_weights is not None and self.model is not None:
            raise OptionError(
                f"--random-weights {self.random_weights} and --model {self.model} both name a model. Leave one out."
            )
        if self.quantize is not None and self.quantize not in BITS:
            raise OptionError(f"--quantize is {self.quantize}; it must be one of {', '.join(map(str, BITS))}.")
        if self.quantize is not None and self.random_weights is None and self.model is None:
            raise OptionError(
                f"--quantize is {self.quantize}, and the demo's small model cannot be quantised. Leave it out, or name "
                f"a model with --model in place of the demo's."
            )
        if self.blocks is not None and (self.random_weights is None or self.blocks < 1):
            raise OptionError(
                f"--blocks is {self.blocks}; it must be a whole number from 1, and goes with --random-weights."
            )
        if self.base_model is not None and self.model is None:
            raise OptionError(
                f"--base-model {self.base_model} says what --model is based on. Give --model, or leave it out."
            )

    def _check_loras(self) -> None:
        paths, scales = self.lora_paths or (), self.lora_scales or ()
        if paths and self.model is None:
            raise OptionError(
                f"--lora-paths is {' '.join(paths)}, which goes with --model. Give --model, or leave it out."
            )
        if scales and len(scales) != len(paths):
            raise OptionError(
                f"--lora-scales has {len(scales)} numbers for {len(paths)} of --lora-paths; it takes one for each."
            )
        for scale in scales:
            if not math.isfinite(scale):
                raise OptionError(f"--lora-scales has {scale}; each must be a finite number, such as 0.8.")

    def _check_input_image(self) -> None:
        path, strength = self.image_path, self.image_strength
        if path is None:
            if strength is not None:
                raise OptionError(f"--image-strength is {strength:g}, and there is no --image-path. Give it too.")
            return
        if self.model is None:
            raise OptionError(f"--image-path is {path}, which goes with --model. Give --model, or leave it out.")
        if strength is not None and not 0 <= strength <= 1:
            raise OptionError(f"--image-strength is {strength:g}; it must be a number from 0 to 1.")
        check_picture("--image-path", Path(path))
        if self.active_steps < LEAST_ACTIVE:
            raise OptionError(
                f"--image-strength is {self.image_arguments['image_strength']:g}, which leaves {self.active_steps} of "
                f"{self.steps} steps to run; it must leave {LEAST_ACTIVE}. Give a lower one, or more --steps."
            )

    @property
    def image_arguments(self) -> dict[str, Any]:
        """Those of ``generate_image`` that say what image it starts from; none = noise."""
        if self.image_path is None:
            return {}
        strength = IMAGE_STRENGTH if self.image_strength is None else self.image_strength
        return {"image_path": self.image_path, "image_strength": strength}

    @property
    def active_steps(self) -> int:
        """Steps that are run: from an input image, the first ones are not."""
        return active_steps(self.steps, self.image_arguments)


@dataclass(frozen=True, kw_only=True)
class SpeedSettings(ImageSettings):
    """What ``bench speed`` is to do: plain values, so that a process of its own can be told.

    Attributes:
        pattern: which steps are skipped; ``None`` = ``plugin`` decides, with ``plugin_options`` as for ``attach``.
    """

    pattern: str | None = None
    plugin: str | None = None
    plugin_options: Mapping[str, Any] = field(default_factory=dict)
    repetitions: int = option("of each variant", 5, least=1)
    warm_up: int = option("images of each variant before them", 1, least=0)
    isolated: bool = option("each run in a process of its own, which loads the model", False, action="store_true")
    compile_blocks: bool = option(
        "once more with each block compiled, where mflux runs eagerly", False, action="store_true"
    )
    compare: str | None = option(
        f"run another package at the same pattern: {', '.join(PEERS)}. It needs a checkout of the repository",
        metavar="PACKAGE",
    )

    def __post_init__(self) -> None:
        if self.pattern is not None:
            patterns.checked(self.pattern, self.steps)
        super().__post_init__()
        if self.pattern is None and self.plugin is None:
            raise OptionError("nothing says which steps are skipped. Give --pattern, --skip or --plugin.")
        if self.pattern is not None and self.plugin is not None:
            raise OptionError(
                f"--plugin {self.plugin} decides itself which steps are skipped. Leave out --pattern, or it."
            )
        if self.plugin_options and self.plugin is None:
            raise OptionError(
                f"--plugin-option {next(iter(self.plugin_options))} goes with --plugin, which is missing."
            )
        if self.compare is not None and self.compare not in PEERS:
            raise OptionError(f"--compare {self.compare} is not known. There are: {', '.join(PEERS)}.")
        if self.compare is not None and self.pattern is None:
            raise OptionError(
                f"--compare {self.compare} runs it at the same pattern of skipped steps, so the pattern must be given. "
                f"Use --pattern or --skip instead of --plugin {self.plugin}."
            )


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """What ``bench quality`` is to do.

    Attributes:
        image: which model, its steps and the image's size and guidance.
        settings: different ones, which are compared.
        prompts, seeds: one or more.
    """

    image: ImageSettings
    settings: tuple[Setting, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def cases(self) -> list[Case]:
        return [Case(prompt, seed) for seed, prompt in product(self.seeds, self.prompts)]

    @property
    def images(self) -> str:
        """For people."""
        return f"prompts: {len(self.prompts)}, seeds of each: {len(self.seeds)}, settings: {len(self.settings)}"

    @property
    def shown(self) -> list[Case]:
        """On the contact sheet."""
        return self.cases[:COLUMNS]
