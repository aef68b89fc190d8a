"""The plugin ``teacache``: TeaCache's policy on the hooks."""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mflux_teacache.errors import OptionError, PluginWarning, Refused
from mflux_teacache.hookspecs import hookimpl
from mflux_teacache.pieces import forecast, option_types
from mflux_teacache.pieces.forecast import ResidualCache
from mflux_teacache.pieces.json_fields import brief
from mflux_teacache.pieces.limits import Limits, refuse_short_run, resolve_window
from mflux_teacache.pieces.policy_run import as_decision
from mflux_teacache.records import Body, Decision, Generation, Step, Target
from mflux_teacache.teacache import budget
from mflux_teacache.teacache import calibration as calibrations
from mflux_teacache.teacache.budget import Budget
from mflux_teacache.teacache.calibration import MOST_COEFFICIENTS, Calibration
from mflux_teacache.teacache.policy import PolicyConfig
from mflux_teacache.teacache.rules import ByBudget, ByThreshold

if TYPE_CHECKING:
    import mlx.core as mx


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What the options and the calibration come to, for images of any number of steps.

    Attributes:
        threshold: ``None`` where there is a budget: it follows from that.
        floor: the smallest change that the calibration predicts.
        max_computed, speedup: the budget; at most one of them is given.
    """

    calibration: Calibration
    threshold: float | None
    floor: float
    max_computed: int | None
    speedup: float | None
    skip_first: float
    skip_last: float
    max_skips: int
    forecast: int
    cache_dtype: str | None

    def policy(self, steps: int) -> PolicyConfig:
        return PolicyConfig(
            threshold=self.threshold or 0.0,
            polynomial=self.calibration.polynomial,
            lower=self.calibration.lower,
            upper=self.calibration.upper,
            skip_first=resolve_window(self.skip_first, steps),
            skip_last=resolve_window(self.skip_last, steps),
            max_skips=self.max_skips,
        )

    def cache(self) -> ResidualCache:
        return ResidualCache(self.forecast, self.cache_dtype)

    def budget(self, steps: int) -> Budget | None:
        """What may be computed of a run; raises ``OptionError`` where that is less than the rules take."""
        computed = self.max_computed
        if self.speedup is not None:
            computed = budget.computed_steps(steps, self.speedup)
        if computed is None:
            return None
        return Budget(
            total=steps,
            computed=computed,
            skip_first=resolve_window(self.skip_first, steps),
            skip_last=resolve_window(self.skip_last, steps),
            max_skips=self.max_skips,
        )


@dataclass(slots=True, eq=False)
class _Image:
    """State of the image in the making."""

    rule: ByThreshold | ByBudget
    cache: ResidualCache
    previous: mx.array | None = None


class TeaCache:
    """Skips the transformer's body while its predicted change stays under a threshold.

    Method: TeaCache, Liu et al., "Timestep Embedding Tells: It's Time to Cache for Video Diffusion Model",
    https://github.com/ali-vilab/TeaCache.
    """

    _settings: _Settings
    _image: _Image | None = None
    _from_file: Calibration | None = None

    @staticmethod
    @hookimpl
    def mflux_add_options(group: argparse._ArgumentGroup) -> None:
        how_much = group.add_mutually_exclusive_group()
        how_much.add_argument(
            "--teacache-thresh",
            type=option_types.threshold,
            metavar="FLOAT",
            help="skip while the predicted change stays below this; higher = faster, further from the full run; "
            "0 never skips (default: the calibration's own, with --teacache-coefficients that of the model's)",
        )
        how_much.add_argument(
            "--teacache-max-computed",
            type=option_types.count_from(1),
            metavar="N",
            help="in place of a threshold: compute this many steps of each image, where they are predicted to matter",
        )
        how_much.add_argument(
            "--teacache-speedup",
            type=option_types.factor,
            metavar="FACTOR",
            help="the same as --teacache-max-computed with the number of steps divided by this, rounded down",
        )
        group.add_argument(
            "--teacache-skip-first",
            type=option_types.window,
            metavar="STEPS",
            help="always compute these first steps: a number, or a fraction of the run such as 0.2 "
            "(default: the calibration's own, else 1)",
        )
        group.add_argument(
            "--teacache-skip-last",
            type=option_types.window,
            metavar="STEPS",
            help="always compute these last steps, as above",
        )
        group.add_argument(
            "--teacache-max-skips",
            type=option_types.count,
            default=8,
            metavar="N",
            help="at most this many skipped steps in a row; 0 never skips (default: %(default)s)",
        )
        forecast.add_options(group, "teacache")
        polynomial = group.add_mutually_exclusive_group()
        polynomial.add_argument(
            "--teacache-calibration",
            metavar="NAME|FILE",
            help=f"use this calibration: a .json file, or one of {', '.join(calibrations.shipped())} "
            "(default: the model's)",
        )
        polynomial.add_argument(
            "--teacache-coefficients",
            type=_coefficients,
            metavar="C4,C3,C2,C1,C0",
            help="a polynomial of your own in place of a calibration, highest power first, evaluated as it is; on a "
            "model without a calibration it needs --teacache-thresh or a budget. With a leading minus: "
            "--teacache-coefficients=-1.5,2,0",
        )
        group.add_argument(
            "--teacache-force",
            action="store_true",
            help="run on a model that is distilled to a few steps",
        )

    @hookimpl
    def mflux_check(self, options: argparse.Namespace, target: Target) -> None:
        if target.model is None and target.base_model is None:
            return  # nothing to judge yet; mflux_attach knows the model
        if not options.force:
            _refuse_distilled(target, target.distilled or calibrations.is_distilled(target))
        calibration = self._chosen(options, target)
        if not options.force:
            _refuse_distilled(target, calibration.distilled)
        settings = _settings(options, calibration)
        windows = Limits(skip_first=settings.skip_first, skip_last=settings.skip_last)
        refuse_short_run("TeaCache", "teacache", windows, target.active_steps)
        if target.active_steps is not None:
            settings.budget(target.active_steps)

    @hookimpl
    def mflux_attach(self, options: argparse.Namespace, target: Target) -> None:
        calibration = self._chosen(options, target)
        self._settings = _settings(options, calibration)
        if options.coefficients is None:
            calibrations.FILES.warn_if_made_elsewhere(calibration, target)
        _warn_if_poor(calibration)
        _warn_if_idle(self._settings)

    @hookimpl
    def mflux_generation_start(self, generation: Generation) -> None:
        settings, steps = self._settings, generation.active_steps
        rules, allowed = settings.policy(steps), settings.budget(steps)
        rule = ByThreshold(rules) if allowed is None else ByBudget(rules, allowed)
        self._image = _Image(rule, settings.cache())

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision:
        image = self._image
        assert image is not None, "mflux_generation_start comes first"
        signal = self._signal(step)
        change = None if image.previous is None else step.relative_l1(signal, image.previous)
        image.previous = signal
        verdict = image.rule.judge(change, step)
        return as_decision(verdict, image.cache, step, image.rule.threshold)

    @hookimpl
    def mflux_post_transformer(self, step: Step, body: Body) -> None:
        image = self._image
        assert image is not None, "mflux_generation_start comes first"
        # Also after a skipped step: a branch that had no fitting residual was computed and has a new one.
        if image.rule.state.cached:
            image.cache.store(step.sigma, body)

    @hookimpl
    def mflux_generation_end(self) -> None:
        self._image = None

    @hookimpl
    def mflux_image_metadata(self, generation: Generation) -> Mapping[str, Any]:
        policy = self._settings.policy(generation.active_steps)
        allowed = self._settings.budget(generation.active_steps)
        return {
            "calibration": self._settings.calibration.name,
            "coefficients": list(policy.polynomial),
            "range": [policy.lower, policy.upper if math.isfinite(policy.upper) else None],
            "threshold": self._settings.threshold,
            "max_computed": None if allowed is None else allowed.computed,
            "skip_first": policy.skip_first,
            "skip_last": policy.skip_last,
            "max_skips": policy.max_skips,
            **self._settings.cache().values,
        }

    def _chosen(self, options: argparse.Namespace, target: Target) -> Calibration:
        """A file is read once: it may change, or be gone, while images are made."""
        if self._from_file is not None:
            return self._from_file
        calibration = _calibration(options, target)
        if options.calibration is not None:
            self._from_file = calibration
        return calibration

    def _signal(self, step: Step) -> mx.array:
        calibration = self._settings.calibration
        signal: mx.array = getattr(step, calibration.signal)
        # Reference images hardly change from step to step: they would hide the change of the image being made.
        return step.target_part(signal) if calibration.rows == "target" else signal


def _refuse_distilled(target: Target, distilled: bool) -> None:
    if distilled:
        raise Refused(
            f"{target.model} is distilled to a few steps, which differ too much to be skipped: there is little "
            f"to gain and much to lose. Use the base model that it was distilled from, with more steps; "
            f"or --teacache-force to try it all the same."
        )


def _calibration(options: argparse.Namespace, target: Target) -> Calibration:
    """What the options name, else the model's."""
    if options.coefficients is not None:
        # Thresholds are in units of the predicted change, whatever predicts it.
        known = calibrations.of_model(target)
        return replace(Calibration.by_hand(options.coefficients), threshold=None if known is None else known.threshold)
    return calibrations.find(target) if options.calibration is None else calibrations.load(options.calibration)


def _settings(options: argparse.Namespace, calibration: Calibration) -> _Settings:
    """Raises ``OptionError``: no threshold, or a polynomial that cannot be followed."""
    floor = calibration.floor
    threshold = calibration.threshold if options.thresh is None else options.thresh
    if options.max_computed is not None or options.speedup is not None:
        threshold = None
    elif threshold is None:
        raise OptionError(
            f"TeaCache has no default threshold for the calibration {calibration.name}. Give one with "
            f"--teacache-thresh, a number above {floor:.3g}: the smallest change that it predicts; "
            f"or a budget with --teacache-speedup."
        )
    first, last = calibration.window or (1, 1)
    return _Settings(
        calibration=calibration,
        threshold=threshold,
        floor=floor,
        max_computed=options.max_computed,
        speedup=options.speedup,
        skip_first=first if options.skip_first is None else options.skip_first,
        skip_last=last if options.skip_last is None else options.skip_last,
        max_skips=options.max_skips,
        forecast=options.forecast,
        cache_dtype=options.cache_dtype,
    )


def _warn_if_poor(calibration: Calibration) -> None:
    """Only of a file of one's own. Those that are shipped were published with what images at their threshold lose."""
    if calibration.is_poor and calibration not in calibrations.shipped().values():
        warnings.warn(
            f"TeaCache's calibration {calibration.name} {calibration.fit_in_words}. {calibrations.BETTER}.",
            PluginWarning,
            stacklevel=2,
        )


def _warn_if_idle(settings: _Settings) -> None:
    """A threshold that the polynomial never undercuts looks like a plugin that does not work. 0 is on purpose."""
    floor = settings.floor
    if settings.threshold is not None and 0 < settings.threshold <= floor:
        default = settings.calibration.threshold
        hint = f" (its default is {default:g})" if default is not None and default > floor else ""
        warnings.warn(
            f"--teacache-thresh {settings.threshold:g} will skip nothing: the smallest change that the calibration "
            f"{settings.calibration.name} predicts is {floor:.3g}. Use a threshold above that{hint}.",
            PluginWarning,
            stacklevel=2,
        )


def _coefficients(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not (1 <= len(values) <= MOST_COEFFICIENTS and all(map(math.isfinite, values))):
        raise argparse.ArgumentTypeError(
            f"{brief(text)} is not a list of 1 to {MOST_COEFFICIENTS} finite numbers with commas between, highest "
            f"power first, such as 1.5,0"
        )
    return values
