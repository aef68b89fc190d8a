"""The model and the images that are measured, and what ``bench speed`` is to do: checked before anything loads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mflux_teacache.bench import patterns
from mflux_teacache.errors import OptionError
from mflux_teacache.pieces.output_files import check_output

FAMILIES = ("flux1-dev", "flux2-klein-base-4b", "flux2-klein-base-9b", "qwen-image", "z-image", "fibo")
PEERS = ("mlx-teacache",)
BITS = (3, 4, 5, 6, 8)

STEPS = 20
REPETITIONS = 5
WARM_UP = 1
SEED = 42

INTERRUPTED_TITLE = " (interrupted)"  # of pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything is plain values, so that a run in a process of its own can be told.

    Attributes:
        random_weights: one of ``FAMILIES``; with ``model`` unset too, the demo's model.
        blocks: with ``random_weights``: at most so many blocks in each list of the body.
        model, base_model: as mflux's options have them.
        quantize: bits per weight.
        steps: of the denoising loop.
        pattern: which steps are skipped; ``None`` = ``plugin`` decides.
        plugin: an installed plugin's name, with ``plugin_options`` as for ``attach``.
        width, height: pixels; ``None`` = 1024, of the demo 128.
        guidance: ``None`` = usual for the model.
        seed, prompt: of every image.
        repetitions: measured images of each variant.
        warm_up: images of each variant before them.
        isolated: each repetition in a process of its own.
        compile_blocks: the variants with a plugin once more with each block compiled.
        compare: another package, one of ``PEERS``, at the same pattern.
        json, png: files to write.

    Raises:
        OptionError: a value that is not allowed, or two that do not go together.
    """

    random_weights: str | None = None
    blocks: int | None = None
    model: str | None = None
    base_model: str | None = None
    quantize: int | None = None
    steps: int = STEPS
    pattern: str | None = None
    plugin: str | None = None
    plugin_options: Mapping[str, Any] = field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    guidance: float | None = None
    seed: int = SEED
    prompt: str | None = None
    repetitions: int = REPETITIONS
    warm_up: int = WARM_UP
    isolated: bool = False
    compile_blocks: bool = False
    compare: str | None = None
    json: str | None = None
    png: str | None = None

    def __post_init__(self) -> None:
        self._check_model()
        self._check_numbers()
        self._check_strategy()
        for option, name, suffix in (("--json", self.json, ".json"), ("--png", self.png, ".png")):
            if name is not None:
                check_output(option, Path(name), suffix)

    def as_json(self) -> dict[str, Any]:
        """Without the files to write, whose folders may have a user's name."""
        return {name: value for name, value in asdict(self).items() if name not in ("json", "png")}

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

    def _check_numbers(self) -> None:
        smallest = {"steps": 2, "repetitions": 1, "warm_up": 0, "seed": 0}
        for name, least in smallest.items():
            value = getattr(self, name)
            if value < least:
                raise OptionError(f"--{name.replace('_', '-')} is {value}; it must be a whole number from {least}.")
        if self.guidance is not None and not math.isfinite(self.guidance):
            raise OptionError(f"--guidance is {self.guidance}; it must be a finite number, such as 4.")
        for side in (self.width, self.height):
            if side is not None and (side < 16 or side % 16):
                raise OptionError(
                    f"--size {self.width}x{self.height} has a side of {side}; both must be multiples of 16, "
                    f"such as 1024x1024."
                )

    def _check_strategy(self) -> None:
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
