"""The plugin ``auto``: the best setting that is known for this model, by a level, a speed-up or a time.

It decides nothing itself. For each image it picks a strategy of this package with its options (``sources.py``), and
hands every step over to it. With a time to keep, it changes that strategy's budget from step to step.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from time import perf_counter
from typing import Any, ClassVar

from mflux_teacache.about import About
from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.options import from_keywords
from mflux_teacache.pieces import few_steps
from mflux_teacache.pieces.budget import computed_steps
from mflux_teacache.pieces.cache import VALUES
from mflux_teacache.pieces.option_types import factor, seconds
from mflux_teacache.pieces.strategy import Strategy
from mflux_teacache.plugins import load
from mflux_teacache.presets import store
from mflux_teacache.presets.preset import Preset, Setting, called
from mflux_teacache.records import Generation, Target
from mflux_teacache.step import Body, Decision, Step
from mflux_teacache.strategies.auto.levels import DEFAULT_LEVEL, LEVELS, Pace, of_level
from mflux_teacache.strategies.auto.sources import Choice, Run, choices, sees_picture
from mflux_teacache.strategies.schedule.budgeted import Computed, refuse_unplanable
from mflux_teacache.strategies.schedule.plans import LEAST
from mflux_teacache.strategies.schedule.plugin import Schedule
from mflux_teacache.strategies.sea.plugin import SeaCache

TOLD = "setting"  # the recorded value that the line after an image quotes

_SPEEDUP = "--auto-speedup"


class Auto:
    """Takes the best setting that is known for the model."""

    name: ClassVar[str] = "auto"
    about: ClassVar[About] = About(
        kind="tool",
        description="Takes the best setting that is known for the model: a preset's, a published plan, or a rule.",
        budgets=("speedup", "seconds", "level"),
        reuses="body",  # where the chosen strategy does not say otherwise
        simulated=False,  # it would show what another strategy does
        replay_values=VALUES,
        told=TOLD,
    )
    reuses: str
    residual_after: int = 0
    _options: argparse.Namespace
    _target: Target
    _generation: Generation
    _choice: Choice
    _chosen: Strategy | None = None
    _presets: tuple[Preset, ...] | None = None
    _begun = _last = 0.0
    _advised = False

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._paces: dict[tuple[int, int, float], Pace] = {}  # by the size and guidance of the images

    @staticmethod
    @hookimpl
    def mflux_add_options(group: argparse._ArgumentGroup) -> None:
        how_much = group.add_mutually_exclusive_group()
        spelt = ", ".join(f"{level} {speedup:g}x" for level, speedup in LEVELS.items())
        how_much.add_argument(
            "--auto-level",
            choices=tuple(LEVELS),
            default=DEFAULT_LEVEL,
            help=f"how many steps are computed: {spelt} fewer (default: %(default)s)",
        )
        how_much.add_argument(
            _SPEEDUP,
            type=factor,
            metavar="FACTOR",
            help="in place of a level: compute the number of steps divided by this, rounded down",
        )
        how_much.add_argument(
            "--auto-seconds",
            type=seconds,
            metavar="S",
            help="in place of a level: compute as many steps as the denoising of an image has time for, by what its "
            "first steps and earlier images took",
        )
        group.add_argument("--auto-force", action="store_true", help="run on a model that is distilled to a few steps")

    @hookimpl
    def mflux_check(self, options: argparse.Namespace, target: Target) -> None:
        if target.distilled and not options.force:
            few_steps.refuse_distilled(target, self.name)
        active = target.active_steps
        if active is None:
            return
        computed = self._budget(options, active)
        if not (target.distilled or target.model is None or self._advised or active >= few_steps.ENOUGH):
            self._advised = True
            few_steps.advise_fewer(active)
        # What is known of a run by now is said before its weights load.
        self._warn(next(choices(Run(target, active, computed), self._known())).warning)

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace, target: Target) -> None:
        self._options, self._target = options, target
        # It cannot change from image to image, and which preset an image takes depends on its steps.
        here = (called(target.model_path or target.model or ""), target.pipeline)
        mine = [preset.settings for preset in self._known() if (preset.key.model, preset.key.pipeline) == here]
        self.residual_after = max((_residual_after(setting) for settings in mine for setting in settings), default=0)

    @hookimpl
    def mflux_generation_start(self, generation: Generation) -> None:
        self._generation = generation
        self._begun = self._last = perf_counter()
        self._chosen = self._choose(sees_picture=sees_picture(generation.token_grid))

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        assert self._chosen is not None, "the image has begun"
        if step.index == 0 and self._choice.plugin == SeaCache.name and step.sigma is None:
            self._chosen = self._choose(sees_picture=False)  # only now is it known that the noise level is not
        self._look_at_the_clock(step)
        if self._options.seconds is not None and step.index:
            self._keep_time(step, self._chosen)
        return self._chosen.mflux_pre_transformer(step)

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        assert self._chosen is not None, "the image has begun"
        self._chosen.mflux_post_transformer(step, body)

    @hookimpl
    def mflux_generation_end(self) -> None:
        if self._chosen is not None:
            self._chosen.mflux_generation_end()

    @hookimpl
    def mflux_image_metadata(self, generation: Generation) -> Mapping[str, Any] | None:
        if self._chosen is None:
            return None
        choice = self._choice
        return {
            **self._chosen.mflux_image_metadata(generation),
            "source": choice.source,
            "from": choice.name or None,
            "strategy": choice.plugin,
            "options": dict(choice.options),
            TOLD: str(choice),
        }

    # --- The choice ---

    def _choose(self, *, sees_picture: bool) -> Strategy:
        """The strategy of an image that is about to take its first step."""
        active, target = self._generation.active_steps, self._target.for_run(self._generation)
        run = Run(target, active, self._first_budget(active), self._options.seconds is None, sees_picture)
        *first, last = choices(run, self._known())
        for choice in first:
            try:
                return self._made(choice, target)
            except Refused as refused:  # of a budget that its windows and its cap do not allow, say
                if choice.source != "rule":
                    named = f"The {choice.source} setting of {choice.name}"
                    self._warn(f"{named} cannot be used here: {refused} auto takes the next best one.")
        return self._made(last, target)

    def _made(self, choice: Choice, target: Target) -> Strategy:
        """The strategy of a choice at the beginning of an image; raises ``Refused`` where it cannot be used."""
        plugin = load(choice.plugin)
        strategy: Strategy = plugin.factory()
        if isinstance(strategy, Schedule):
            strategy.given = choice.lists
        options = from_keywords(plugin, choice.options)
        strategy.check(options, target)
        strategy.mflux_attach(options=options, target=target)
        strategy.mflux_generation_start(self._generation)
        self._choice, self.reuses = choice, strategy.reuses
        self._warn(choice.warning)
        return strategy

    def _known(self) -> tuple[Preset, ...]:
        """The user's presets. They are read once: they may change while images are made."""
        if self._presets is None:
            try:
                self._presets = tuple(store.usable())
            except OptionError as error:
                self._presets = ()
                self._warn(f"{error} auto goes on without presets.")
        return self._presets

    def _warn(self, message: str) -> None:
        """Once, since an instance judges every image of an attachment."""
        if message and message not in self._said:
            self._said.add(message)
            warnings.warn(message, PluginWarning, stacklevel=3)

    # --- The budget ---

    def _budget(self, options: argparse.Namespace, active: int) -> int:
        """How many steps are computed, of so many; where the clock will tell, as a beginning.

        Raises:
            Refused: that leaves nothing to skip, or less than a plan computes.
        """
        if options.seconds is not None:
            asked = Computed(active - 1, f"--auto-seconds {options.seconds:g}")
        elif options.speedup is not None:
            asked = Computed(computed_steps(active, options.speedup), f"{_SPEEDUP} {options.speedup:g}")
        else:
            asked = Computed(of_level(options.level, active), f"--auto-level {options.level}")
        refuse_unplanable(asked, active, f"an {_SPEEDUP}")
        return asked.steps

    def _first_budget(self, active: int) -> int:
        affords = None if self._options.seconds is None else self._pace.affords(self._options.seconds, active)
        if affords is None:
            return self._budget(self._options, active)
        return min(max(LEAST, affords), active - 1)

    def _look_at_the_clock(self, step: Step) -> None:
        now = perf_counter()
        if step.index:
            self._pace.note(now - self._last, self._generation.records[-1].cost, first=step.index == 1)
        self._last = now

    def _keep_time(self, step: Step, chosen: Strategy) -> None:
        """Compute as many of the steps that are left as there is time for."""
        records = self._generation.records
        left = self._options.seconds - (self._last - self._begun)
        affords = self._pace.affords(left, self._generation.active_steps - step.index)
        if affords is not None:
            chosen.spend(step, sum(record.decision in ("computed", "forced") for record in records) + affords)

    @property
    def _pace(self) -> Pace:
        image = self._generation
        return self._paces.setdefault((image.width, image.height, image.guidance), Pace())


def _residual_after(setting: Setting) -> int:
    """After how many blocks a setting takes residuals, if it reuses any."""
    about = load(setting.plugin).about
    return about.residual_after if setting.options.get("reuse", about.reuses) == "body" else 0
