"""The base of strategies: a subclass says what its rule would do, and what all strategies have in common is here.

That is windows and a cap, a threshold or an exact budget, what is reused and in which dtype, the records of the steps,
what is recorded with the image, and what is said of models and runs of few steps. The hooks call the plain methods,
which a subclass overrides: so it needs no hook of its own, and may have further ones.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import mlx.core as mx

from mflux_teacache.about import About
from mflux_teacache.errors import OptionError
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.pieces import cache as caches
from mflux_teacache.pieces import few_steps, limits, option_types
from mflux_teacache.pieces.budget import Allowance, Budget
from mflux_teacache.pieces.cache import Cache
from mflux_teacache.pieces.controller import Bounds, judge
from mflux_teacache.pieces.forecast import DEFAULT_ORDER
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.verdict import Progress, Verdict
from mflux_teacache.records import Generation, Target
from mflux_teacache.step import Body, Decision, Step

# What every strategy on this base may say of itself; ``dataclasses.replace`` adds what is its own.
COMMON = About(
    kind="strategy",
    windows=limits.WINDOWS,
    cap=limits.CAP,
    reuses="body",  # where --<strategy>-reuse does not say otherwise
    replay_values=caches.VALUES,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options come to on one model, for images of any number of steps.

    Attributes:
        limits: windows and cap.
        threshold: ``None`` where the strategy has none, or a budget takes its place.
        allowance: the budget, if one is asked for.
        always: the active steps that the rule computes in any case, of a run of so many steps, of which so many are
            active: a budget counts them in.
    """

    limits: Limits
    threshold: float | None = None
    allowance: Allowance | None = None
    always: Callable[[int, int], frozenset[int]] = lambda steps, active: frozenset()


class Strategy:
    """Decides in each step whether the transformer's body runs, or what it added before is reused.

    A subclass gives ``name``, ``about`` and ``judge``, and declares what options it has beyond the common ones.

    Attributes:
        name: the plugin's, as its entry point has it: options begin with it.
        title: its name in sentences.
        about: what it says of itself. Its threshold, budgets, windows and cap become options, each if it is there.
        defaults: windows and cap where no option says otherwise; without a cap there is no option for it.
        models_own: by keyword, in words, the defaults that depend on the model; ``settings`` finds them.
        skips_while: what holds while steps are skipped, of a threshold that is "this"; for the help.
        order: of the forecast of residuals, where no option says otherwise.
        least_first: how many first steps are computed whatever the window is.
        limits, threshold, allowance: of this attachment, from ``settings``.
        progress: how far the image is before the step that is judged, such as how many steps were skipped in a row.
        cache: what computed steps gave.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[About]
    defaults: ClassVar[Limits] = Limits()
    models_own: ClassVar[Mapping[str, str]] = {}
    skips_while: ClassVar[str] = "its number is less than this"
    order: ClassVar[int] = DEFAULT_ORDER
    least_first: ClassVar[int] = 1

    limits: Limits
    threshold: float | None = None
    allowance: Allowance | None = None
    progress: Progress
    cache: Cache
    _settings: Settings
    _bounds: Bounds
    _keep: bool = True
    _advised: bool = False

    # What a subclass overrides. Only judge() has to be.

    @classmethod
    def add_options(cls, group: argparse._ArgumentGroup) -> None:
        """Declare the options that other strategies do not have."""

    def settings(self, options: argparse.Namespace, target: Target) -> Settings:
        """What the options come to on a model; ``settings_from`` makes it from defaults of the model's own."""
        return self.settings_from(options, self.defaults, self.about.default_threshold)

    def names_steps(self, options: argparse.Namespace) -> bool:
        """Whether the options name every step that is skipped: then nothing is said of models or runs of few steps."""
        return False

    def is_distilled(self, options: argparse.Namespace, target: Target) -> bool:
        """Whether a model is distilled to a few steps, and so refused without ``--<strategy>-force``."""
        return target.distilled

    def check(self, options: argparse.Namespace, target: Target) -> None:
        """Refuse what cannot work, as ``mflux_check`` does."""
        # This comes first: options that are at odds with each other are refused whatever the run is.
        settings, steps = self.settings(options, target), target.active_steps
        limits.refuse_short_run(self.title, self.name, settings.limits, steps, least_first=self.least_first)
        if steps is not None:
            self._bounds_of(settings, target.steps or steps, steps)

    def attach(self, options: argparse.Namespace, target: Target) -> None:
        """Read the options of ``add_options``; limits, threshold and cache are there already."""

    def start(self, generation: Generation) -> None:
        """Prepare for an image: what depends on the number of its steps."""

    def bounds(self, generation: Generation) -> Bounds:
        """What the steps of an image are held to. Asked once for each."""
        return self._bounds_of(self._settings, generation.num_inference_steps, generation.active_steps)

    def judge(self, step: Step) -> Verdict:
        """Say what the rule would do in a step, by whatever it reads of it. Asked in every step, windows included.

        The limits are held afterwards; ``kind="weigh"`` leaves it to the threshold, or to the budget.
        """
        raise NotImplementedError

    def spend(self, step: Step, computed: int) -> None:
        """Change the budget while an image is made, before this step: how many of all its steps are computed.

        As near to that as windows and cap allow.
        """
        active = step.generation.active_steps
        self._settings = replace(self._settings, threshold=None, allowance=Allowance(max_computed=active))
        budget = self.bounds(step.generation)
        assert isinstance(budget, Budget), "a strategy without budgets is not asked for one"
        self._bounds = replace(budget, computed=min(max(computed, budget.least), active))
        self.allowance = Allowance(max_computed=self._bounds.computed)

    def reused(self, step: Step) -> tuple[mx.array | None, ...]:
        """What a step reuses that ``judge`` wants skipped, by the branches' numbers; a branch of ``None`` computes."""
        return self.cache.arrays(step.sigma)

    def observe(self, step: Step, body: Body) -> None:
        """Look at a step that is done. What it computed is in the cache already."""

    def forget(self) -> None:
        """Drop what was kept of an image, its arrays above all. Called before each image and after it."""

    def values(self, generation: Generation) -> Mapping[str, Any]:
        """What to record with an image, beside the options and what the cache is like."""
        return {}

    # For use in these methods.

    def settings_from(self, options: argparse.Namespace, defaults: Limits, threshold: float | None) -> Settings:
        """The options, and where one is not given, these defaults. A budget that is asked for lifts the threshold."""
        allowance = limits.budget_from(options) if self.about.budgets else None
        given = None if self.about.threshold is None else getattr(options, self.about.threshold)
        threshold = threshold if given is None else given
        if threshold is not None and not (math.isfinite(threshold) and threshold >= 0):
            raise OptionError(
                f"{self.title}'s threshold is {threshold}; it must be a finite number from 0. 0 never skips."
            )
        found = limits.from_options(options, defaults)
        return Settings(found, threshold if allowance is None else None, allowance)

    def _bounds_of(self, settings: Settings, steps: int, active: int) -> Bounds:
        """Raises ``OptionError`` where windows and cap take more steps than a budget has."""
        held = settings.limits.of(active, self.least_first)
        if settings.allowance is None:
            return Bounds(**held, threshold=settings.threshold or 0.0)
        return Budget(
            **held,
            computed=settings.allowance.of(active),
            always=settings.always(steps, active),
            title=self.title,
            plugin=self.name,
        )

    # The hooks.

    @classmethod
    @hookimpl
    def mflux_add_options(cls, group: argparse._ArgumentGroup) -> None:
        about = cls.about
        # In one group, so that a budget on the command line lifts a threshold that a sidecar has recorded.
        how_much = group.add_mutually_exclusive_group() if about.budgets else group
        if about.threshold is not None:
            default = cls.models_own.get(about.threshold, "%(default)s")
            how_much.add_argument(
                f"--{cls.name}-{about.threshold.replace('_', '-')}",
                type=option_types.threshold,
                default=about.default_threshold,
                metavar="FLOAT",
                help=f"skip while {cls.skips_while}; higher = faster, further from the full run; 0 never skips "
                f"(default: {default})",
            )
        if about.budgets:
            limits.add_budget(how_much, cls.name)
        cls.add_options(group)
        if about.windows:
            limits.add_options(group, cls.name, cls.defaults, cls.models_own)
        caches.add_options(group, cls.name, cls.order, about.reuses)
        group.add_argument(
            f"--{cls.name}-force", action="store_true", help="run on a model that is distilled to a few steps"
        )

    @hookimpl
    def mflux_check(self, options: argparse.Namespace, target: Target) -> None:
        if self.about.needs_calibration and target.model is None and target.base_model is None:
            return  # nothing to judge yet; mflux_attach knows the model
        if self.names_steps(options):
            self.check(options, target)
            return
        # Before figures are looked for: of a distilled model there may be none, which is not what is wrong.
        distilled = self.is_distilled(options, target)
        if distilled and not options.force:
            few_steps.refuse_distilled(target, self.name)
        self.check(options, target)
        if not distilled:  # of which it has been said, and overruled
            self._advise(target)

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace, target: Target) -> None:
        # The model is known by now, which it need not have been in mflux_check: a file may have other defaults for it.
        settings = self._settings = self.settings(options, target)
        self.limits, self.threshold, self.allowance = settings.limits, settings.threshold, settings.allowance
        self.cache = caches.from_options(options, self.order)
        self.reuses = self.cache.reuses
        self.attach(options, target)

    @hookimpl
    def mflux_generation_start(self, generation: Generation) -> None:
        self._clear()  # the image before may have ended in the middle, without mflux_generation_end
        self._bounds = self.bounds(generation)
        self.start(generation)

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        verdict = judge(self.progress, self.judge(step), step.index, self._bounds)
        self.progress, self._keep = verdict.state, verdict.keep
        # Before anything is handed out: what cannot be trusted must not be the base of a forecast either.
        if verdict.drop_cache:
            self.cache.clear()
        arrays = self.reused(step) if verdict.kind == "reuse" else None
        at_output = self.reuses == "output"
        return Decision(
            residuals=None if at_output else arrays,
            outputs=arrays if at_output else None,
            forced=verdict.kind == "force",
            reason=verdict.reason,
            change=verdict.change,
            prediction=verdict.prediction,
            running_sum=verdict.running_sum,
            threshold=self.threshold if verdict.threshold is None else verdict.threshold,
        )

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        # Also after a skipped step: a branch that had no fitting residual was computed, and has a new one.
        if self._keep:
            self.cache.store(step.sigma, body)
        self.observe(step, body)

    @hookimpl
    def mflux_generation_end(self) -> None:
        self._clear()

    @hookimpl
    def mflux_image_metadata(self, generation: Generation) -> Mapping[str, Any]:
        return {**self.values(generation), **self.cache.values}

    def _advise(self, target: Target) -> None:
        """Warn of a short run, once: an instance judges every image of an attachment."""
        active = target.active_steps
        # A model that is not known yet may be a distilled one.
        if self._advised or target.model is None or active is None or active >= few_steps.ENOUGH:
            return
        self._advised = True
        few_steps.advise_fewer(active)

    def _clear(self) -> None:
        self.progress, self._keep = Progress(), True
        self.cache.clear()
        self.forget()
