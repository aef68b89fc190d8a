"""The base of strategies: a subclass judges steps, and what all strategies have in common is here.

That is the state of the image in the making, windows and a cap, a threshold or an exact budget, what is reused and in
which dtype, the records of the steps, and what is recorded with the image. The hooks call the plain methods, which a
subclass overrides: so it needs no hook of its own, and may have further ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic

import mlx.core as mx

from mflux_teacache.about import About
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.pieces import budget as budgets
from mflux_teacache.pieces import cache as caches
from mflux_teacache.pieces import limits, option_types
from mflux_teacache.pieces.budget import Allowance, Budget, BudgetState
from mflux_teacache.pieces.cache import Cache
from mflux_teacache.pieces.forecast import DEFAULT_ORDER
from mflux_teacache.pieces.limits import Limits
from mflux_teacache.pieces.verdict import State, Verdict
from mflux_teacache.records import Body, Decision, Generation, Numbers, Step, Target

# What every strategy on this base may say of itself; ``dataclasses.replace`` adds what is its own.
COMMON = About(
    kind="strategy",
    windows=limits.WINDOWS,
    cap=limits.CAP,
    reuses="residual",  # where --<strategy>-reuse does not say otherwise
    replay_values=caches.VALUES,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options come to on one model, for images of any number of steps.

    Attributes:
        limits: windows and cap.
        threshold: ``None`` where the strategy has none, or a budget takes its place.
        allowance: the budget, if one is asked for.
    """

    limits: Limits
    threshold: float | None = None
    allowance: Allowance | None = None


class Strategy(Generic[State]):
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
        reuse: what is reused where no option says otherwise, ``body`` or ``output``.
        least_first: how many first steps are computed whatever the window is.
        first: the rule's state at the start of an image; all images begin with this very object.
        state: what the last verdict handed on.
        limits, threshold: of this attachment, from ``settings``.
        budget: of this image; with one, ``judge`` leaves the step to ``spend``.
        cache: what computed steps gave.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[About]
    defaults: ClassVar[Limits] = Limits()
    models_own: ClassVar[Mapping[str, str]] = {}
    skips_while: ClassVar[str] = "its number is less than this"
    order: ClassVar[int] = DEFAULT_ORDER
    reuse: ClassVar[str] = "body"
    least_first: ClassVar[int] = 1

    first: State
    state: State
    limits: Limits
    threshold: float | None = None
    budget: Budget | None = None
    cache: Cache
    _settings: Settings = Settings(Limits())
    _spent: BudgetState
    _keep: bool = True

    # What a subclass overrides. Only judge() has to be.

    @classmethod
    def add_options(cls, group: argparse._ArgumentGroup) -> None:
        """Declare the options that other strategies do not have."""

    def settings(self, options: argparse.Namespace, target: Target) -> Settings:
        """What the options come to on a model; ``settings_from`` makes it from defaults of the model's own."""
        return self.settings_from(options, self.defaults, self.about.default_threshold)

    def check(self, options: argparse.Namespace, target: Target) -> None:
        """Refuse what cannot work, as ``mflux_check`` does."""
        # This comes first: options that are at odds with each other are refused whatever the run is.
        settings, steps = self.settings(options, target), target.active_steps
        limits.refuse_short_run(self.title, self.name, settings.limits, steps, least_first=self.least_first)
        if steps is not None:
            self.budget_of(steps, settings)

    def attach(self, options: argparse.Namespace, target: Target) -> None:
        """Read the options of ``add_options``; limits, threshold and cache are there already."""

    def start(self, generation: Generation) -> None:
        """Prepare for an image: what depends on the number of its steps."""

    def judge(self, step: Step) -> Verdict[State]:
        """Say what to do in a step: by ``state``, and by whatever it reads of the step."""
        raise NotImplementedError

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
        allowance = budgets.from_options(options) if self.about.budgets else None
        given = None if self.about.threshold is None else getattr(options, self.about.threshold)
        threshold = threshold if given is None else given
        found = limits.from_options(options, defaults)
        return Settings(found, threshold if allowance is None else None, allowance)

    def budget_of(self, steps: int, settings: Settings | None = None) -> Budget | None:
        """The budget of an image of so many steps; raises ``OptionError`` where windows and cap take more."""
        settings = settings or self._settings
        if settings.allowance is None:
            return None
        return settings.allowance.of(steps, settings.limits, title=self.title, plugin=self.name)

    def spend(self, prediction: float | None, step: Step, change: float | None = None) -> Verdict[State]:
        """Judge a step by the budget, from what it adds to the running number; ``None`` where that is not known."""
        assert self.budget is not None, "it is asked for where there is a budget"
        verdict = budgets.decide(self._spent, prediction, step.index, self.budget)
        self._spent = verdict.state
        # The budget keeps a state of its own; the strategy's stays as it was.
        return replace(verdict, state=self.state, change=change)  # type: ignore[arg-type, return-value]

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
            budgets.add_options(how_much, cls.name)
        cls.add_options(group)
        if about.windows:
            limits.add_options(group, cls.name, cls.defaults, cls.models_own)
        caches.add_options(group, cls.name, cls.order, cls.reuse)

    @hookimpl
    def mflux_check(self, options: argparse.Namespace, target: Target) -> None:
        if self.about.needs_calibration and target.model is None and target.base_model is None:
            return  # nothing to judge yet; mflux_attach knows the model
        self.check(options, target)

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace, target: Target) -> None:
        # The model is known by now, which it need not have been in mflux_check: a file may have other defaults for it.
        self._settings = self.settings(options, target)
        self.limits, self.threshold = self._settings.limits, self._settings.threshold
        self.cache = caches.from_options(options, self.order)
        self.reuses = self.cache.about
        self.attach(options, target)

    @hookimpl
    def mflux_generation_start(self, generation: Generation) -> None:
        self._clear()  # the image before may have ended in the middle, without mflux_generation_end
        self.budget = self.budget_of(generation.active_steps)
        self.start(generation)

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        verdict = self.judge(step)
        self.state, self._keep = verdict.state, verdict.keep
        # Before anything is handed out: what cannot be trusted must not be the base of a forecast either.
        if verdict.drop_cache:
            self.cache.clear()
        numbers: Numbers = {
            "change": verdict.change,
            "prediction": verdict.prediction,
            "running_sum": verdict.running_sum,
            "threshold": self.threshold if verdict.threshold is None else verdict.threshold,
        }
        if verdict.kind == "reuse":
            return self.cache.decision(self.reused(step), verdict.reason, **numbers)
        return Decision.compute(verdict.reason, forced=verdict.kind == "force", **numbers)

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

    def _clear(self) -> None:
        self.state, self._spent, self._keep = self.first, BudgetState(), True
        self.cache.clear()
        self.forget()
