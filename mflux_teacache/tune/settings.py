"""What is to be tuned, and how much work that may be. All is checked before anything loads."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mflux_teacache.bench.quality import is_count, prompts_in
from mflux_teacache.bench.runs import Case
from mflux_teacache.bench.settings import ImageSettings, asked_steps, check_seeds
from mflux_teacache.demo import prompts as demo_prompts
from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.pieces.budget import computed_steps
from mflux_teacache.pieces.few_steps import ENOUGH
from mflux_teacache.tune.prompts import PROMPTS

FEWEST_PROMPTS = 2  # one to fit, and one to check
USUAL_PROMPTS = 3
STEPS = 28
FIRST_SEED = 501
SPEED_UPS = (1.5, 2.0, 2.5, 3.0)
FEWEST_COMPUTED = 3

_PROMPT_SEED = 11  # of the demo's random prompts; others are for measuring


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """What the command line asks for.

    Attributes:
        image: which model, its steps and the image's size and guidance.
        cases: prompts with a seed each.
        speed_ups: steps over computed steps, for each of which settings are looked for.
        minutes: what all may take, about; ``None`` = as long as it takes.

    Raises:
        Refused: there is nothing to tune.
        OptionError: a value that is not allowed.
    """

    image: ImageSettings
    cases: tuple[Case, ...]
    speed_ups: tuple[float, ...] = SPEED_UPS
    minutes: float | None = None

    def __post_init__(self) -> None:
        steps = self.image.active_steps
        if steps < ENOUGH:
            enough = f"--steps {STEPS}, or as many as your images take"
            if given := self.image.image_arguments:
                enough = f"--steps {asked_steps(ENOUGH, given)} or more, or a lower --image-strength"
            raise Refused(
                f"--steps {self.image.steps} runs {steps} steps, and with fewer than {ENOUGH} there is nothing to "
                f"tune: running fewer steps is the better way to save time. Give {enough}."
            )
        if self.minutes is not None and not (math.isfinite(self.minutes) and self.minutes > 0):
            raise OptionError(f"--minutes is {self.minutes:g}; it must be a number above 0, such as 30.")
        for speed_up in self.speed_ups:
            if not FEWEST_COMPUTED <= self.computed(speed_up) < steps:
                raise OptionError(
                    f"--speedups has {speed_up:g}, which computes {self.computed(speed_up)} of {steps} steps; it must "
                    f"compute {FEWEST_COMPUTED} to {steps - 1}. Try --speedups {spelt(SPEED_UPS)}."
                )

    def computed(self, speed_up: float) -> int:
        """How many of the steps are computed; none where it is no speed-up at all."""
        return computed_steps(self.image.active_steps, speed_up) if math.isfinite(speed_up) and speed_up >= 1 else 0

    @property
    def with_json(self) -> TuneSettings:
        """The same with the built-in prompts as JSON, for a model that takes no other."""
        return replace(
            self,
            cases=tuple(
                replace(case, prompt=json.dumps({"short_description": case.prompt})) if case.prompt in PROMPTS else case
                for case in self.cases
            ),
        )

    @property
    def budgets(self) -> tuple[int, ...]:
        """Numbers of computed steps, the largest first."""
        return tuple(sorted(set(map(self.computed, self.speed_ups)), reverse=True))


def settings_of(args: argparse.Namespace) -> TuneSettings:
    """From the command line.

    Raises:
        OptionError, Refused: as ``TuneSettings`` does; or no model is named, or two.
    """
    if args.model is None and not args.demo:
        raise OptionError(
            "no model is named. Give --model, as for mflux-generate, such as --model dev -q 8; "
            "or --demo for the small one that comes with this package."
        )
    if args.model is not None and args.demo:
        raise OptionError(f"--model {args.model} and --demo both name a model. Leave one out.")
    prompts = _prompts(args.prompts, demo=args.demo)
    check_seeds("--first-seed", args.first_seed, len(prompts))
    return TuneSettings(
        image=ImageSettings.of(args, seed=args.first_seed),
        cases=tuple(Case(prompt, args.first_seed + place) for place, prompt in enumerate(prompts)),
        speed_ups=args.speedups,
        minutes=args.minutes,
    )


def _prompts(text: str | None, *, demo: bool) -> tuple[str, ...]:
    most = len(PROMPTS)
    if text is None or is_count(text):
        count = USUAL_PROMPTS if text is None else int(text)
        if not FEWEST_PROMPTS <= count <= most:
            raise OptionError(
                f"--prompts is {count}; it must be a whole number from {FEWEST_PROMPTS} to {most}, or a file."
            )
        return _of_the_demo(count) if demo else PROMPTS[:count]
    prompts = prompts_in(text, demo=demo)
    if len(prompts) < FEWEST_PROMPTS:
        raise OptionError(
            f"--prompts is {text}, which has {len(prompts)} prompt; it takes {FEWEST_PROMPTS} or more, since some are "
            f"kept apart to check what was found on the others. Write one in a line."
        )
    return prompts


def _of_the_demo(count: int) -> tuple[str, ...]:
    return tuple(demo_prompts.held_out(count, seed=_PROMPT_SEED, without=demo_prompts.FITTED))


def spelt(speed_ups: Sequence[float]) -> str:
    """As the command line has them."""
    return ",".join(f"{speed_up:g}" for speed_up in speed_ups)
