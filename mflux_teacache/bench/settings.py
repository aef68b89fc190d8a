"""The model and the images that are measured, and what ``bench speed`` is to do: checked before anything loads.

A field is declared once, with its option of the command line.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mflux_teacache.bench import patterns
from mflux_teacache.errors import OptionError

FAMILIES = ("flux1-dev", "flux2-klein-base-4b", "flux2-klein-base-9b", "qwen-image", "z-image", "fibo")
PEERS = ("mlx-teacache",)
BITS = (3, 4, 5, 6, 8)
STEPS = 20


def option(help: str, default: Any = None, *, short: str | None = None, least: int | None = None, **how: Any) -> Any:
    """A field that is an option of the command line too.

    Args:
        short: a second name of the option.
        least: the smallest whole number that it takes.
        how: more arguments of ``add_argument``.
    """
    if default is not None and how.get("action") is None:
        help = f"{help} (default: %(default)s)".lstrip()
    return field(
        default=default, metadata={"short": short, "least": least, "how": {**how, "help": help, "default": default}}
    )


def add_options(group: argparse._ActionsContainer, *names: str) -> None:
    """Add the options of these fields of ``SpeedSettings``."""
    declared = {known.name: known.metadata for known in fields(SpeedSettings)}
    for name in names:
        flags = [f"--{name.replace('_', '-')}"]
        if short := declared[name]["short"]:
            flags.insert(0, short)
        group.add_argument(*flags, **declared[name]["how"])


@dataclass(frozen=True, slots=True, kw_only=True)
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
    quantize: int | None = option(f"bits per weight: {', '.join(map(str, BITS))}", short="-q", type=int, metavar="BITS")
    steps: int = option("denoising steps", STEPS, least=2, type=int, metavar="INT")
    width: int | None = None  # of --size
    height: int | None = None
    guidance: float | None = option("guidance scale (default: usual for the model)", type=float, metavar="FLOAT")
    seed: int = option("", 42, least=0, type=int, metavar="INT")
    prompt: str | None = option("(default: one of ours)")

    def __post_init__(self) -> None:
        self._check_model()
        for known in fields(self):
            value, least = getattr(self, known.name), known.metadata.get("least")
            if least is not None and value < least:
                name = known.name.replace("_", "-")
                raise OptionError(f"--{name} is {value}; it must be a whole number from {least}.")
        if self.guidance is not None and not math.isfinite(self.guidance):
            raise OptionError(f"--guidance is {self.guidance}; it must be a finite number, such as 4.")
        for side in (self.width, self.height):
            if side is not None and (side < 16 or side % 16):
                raise OptionError(
                    f"--size {self.width}x{self.height} has a side of {side}; both must be multiples of 16, "
                    f"such as 1024x1024."
                )

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
        demo = self.random_weights is None and self.model is None
        if self.quantize is not None and (demo or self.quantize not in BITS):
            raise OptionError(
                f"--quantize is {self.quantize}; it must be one of {', '.join(map(str, BITS))}, and goes with --model "
                f"or --random-weights: the demo's model is not quantised."
            )
        if self.blocks is not None and (self.random_weights is None or self.blocks < 1):
            raise OptionError(
                f"--blocks is {self.blocks}; it must be a whole number from 1, and goes with --random-weights."
            )
        if self.base_model is not None and self.model is None:
            raise OptionError(f"--base-model {self.base_model} says what --model is based on. Give --model too.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedSettings(ImageSettings):
    """And how often, with which steps skipped: plain values, so that a process of its own can be told.

    Attributes:
        pattern: which steps are skipped; ``None`` = ``plugin`` decides, with ``plugin_options`` as for ``attach``.
    """

    pattern: str | None = None
    plugin: str | None = None
    plugin_options: Mapping[str, Any] = field(default_factory=dict)
    repetitions: int = option("of each variant", 5, least=1, type=int, metavar="INT")
    warm_up: int = option("images of each variant before them", 1, least=0, type=int, metavar="INT")
    isolated: bool = option("each run in a process of its own, which loads the model", False, action="store_true")
    compile_blocks: bool = option(
        "once more with each block compiled, where mflux runs eagerly", False, action="store_true"
    )
    compare: str | None = option(
        f"run another package at the same pattern: {', '.join(PEERS)}. It needs a checkout of the repository",
        metavar="PACKAGE",
    )

    def __post_init__(self) -> None:
        ImageSettings.__post_init__(self)  # super() does not work in a dataclass with slots
        if self.pattern is not None:
            patterns.checked(self.pattern, self.steps)
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
