"""The plugin ``teacache``: TeaCache's rule, with its calibrations, on the base of strategies.

Before each step the signal's relative L1 change since the step before, skipped or not, goes through a fitted
polynomial: a prediction of how much the body's output will change. Steps are skipped while the sum of the predictions
since the last computed step stays under a threshold.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from mflux_teacache.errors import OptionError, PluginWarning
from mflux_teacache.pieces.budget import BUDGETS
from mflux_teacache.pieces.data_files import Chosen
from mflux_teacache.pieces.limits import Limits, resolve_window
from mflux_teacache.pieces.strategy import COMMON, Settings, Strategy
from mflux_teacache.pieces.verdict import Verdict
from mflux_teacache.records import Generation, Target
from mflux_teacache.spelling import brief
from mflux_teacache.step import Step
from mflux_teacache.teacache.calibration import BETTER, FILES, MOST_COEFFICIENTS, Calibration, is_distilled, of_model

if TYPE_CHECKING:
    import mlx.core as mx

# Of a model whose calibration does not say otherwise.
DEFAULTS = Limits(skip_first=1, skip_last=1, max_skips=8)

_OWN = "the calibration's own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """From a change of the signal to one of the body's output.

    Attributes:
        polynomial: coefficients from the highest power to the constant.
        lower: a smaller change counts as this one.
        upper: the largest change to trust the polynomial with.

    Raises:
        OptionError: a value outside of what is allowed.
    """

    polynomial: tuple[float, ...]
    lower: float = 0.0
    upper: float = math.inf

    def __post_init__(self) -> None:
        if not self.polynomial or not all(map(math.isfinite, self.polynomial)):
            raise OptionError(
                f"TeaCache's coefficients are {self.polynomial}; they must be at least one finite number, "
                f"from the highest power to the constant. (1.0, 0.0) takes the change as it is."
            )
        if not 0 <= self.lower <= self.upper:
            raise OptionError(
                f"TeaCache's range is {self.lower} to {self.upper}; it must start at 0 or more and not end "
                f"before that. 0 to infinity sets no limits."
            )


def decide(change: float | None, curve: Curve, *, every_change: bool = False) -> Verdict:
    """Predict one step's change, which is left to the threshold, or to a budget. Pure.

    Args:
        change: relative L1 change of the signal since the step before; ``None`` if there was none.
        curve: what predicts.
        every_change: weigh a change above the curve's range as its end, as a budget does, which holds changes against
            each other; else it is computed.
    """
    if change is not None and change > curve.upper and math.isfinite(change) and not every_change:
        return Verdict(kind="force", reason="change above the calibrated range", change=change)
    prediction = None if change is None else predict(change, curve)
    return Verdict(kind="weigh", reason="predicted change", change=change, prediction=prediction)


def predict(change: float, curve: Curve) -> float:
    """The predicted change of the output, from 0; NaN or infinite where the change or the polynomial's value is."""
    if not math.isfinite(change):
        return change
    value = evaluate(curve.polynomial, min(max(change, curve.lower), curve.upper))
    # max(0.0, nan) is 0.0, which would skip.
    return max(0.0, value) if math.isfinite(value) else value


def evaluate(polynomial: Iterable[float], x: float) -> float:
    """A polynomial's value; coefficients from the highest power to the constant."""
    value = 0.0
    for coefficient in polynomial:
        value = value * x + coefficient
    return value


class TeaCache(Strategy):
    """Skips the transformer's body while its predicted change stays under a threshold.

    Method: TeaCache, Liu et al., "Timestep Embedding Tells: It's Time to Cache for Video Diffusion Model",
    https://github.com/ali-vilab/TeaCache.
    """

    name = "teacache"
    title = "TeaCache"
    about = replace(
        COMMON,
        description="Predicts from a cheap signal how much the output will change, and skips while it is little.",
        threshold="thresh",
        budgets=BUDGETS,
        needs_calibration=True,
        grid={"thresh": (0.05, 0.08, 0.12, 0.2, 0.3), "forecast": (0, 1, 2)},
    )
    defaults = DEFAULTS
    models_own: ClassVar[Mapping[str, str]] = {
        "thresh": f"{_OWN}, with --teacache-coefficients that of the model's",
        "skip_first": f"{_OWN}, else {DEFAULTS.skip_first}",
        "skip_last": f"{_OWN}, else {DEFAULTS.skip_last}",
    }
    skips_while = "the predicted change adds up to less than this"

    _calibration: Calibration
    _curve: Curve
    _previous: mx.array | None = None

    def __init__(self) -> None:
        self._calibrations = Chosen(FILES)

    @classmethod
    def add_options(cls, group: argparse._ArgumentGroup) -> None:
        polynomial = group.add_mutually_exclusive_group()
        FILES.add_option(polynomial)
        polynomial.add_argument(
            "--teacache-coefficients",
            type=_coefficients,
            metavar="C4,C3,C2,C1,C0",
            help="a polynomial of your own in place of a calibration, highest power first, evaluated as it is; on a "
            "model without a calibration it needs --teacache-thresh or a budget. With a leading minus: "
            "--teacache-coefficients=-1.5,2,0",
        )

    def settings(self, options: argparse.Namespace, target: Target) -> Settings:
        calibration = self._chosen(options, target)
        floor = calibration.floor  # also refuses a polynomial that cannot be followed
        first, last = calibration.window or (DEFAULTS.skip_first, DEFAULTS.skip_last)
        settings = self.settings_from(
            options, replace(DEFAULTS, skip_first=first, skip_last=last), calibration.threshold
        )
        if settings.threshold is None and settings.allowance is None:
            raise OptionError(
                f"TeaCache has no default threshold for the calibration {calibration.name}. Give one with "
                f"--teacache-thresh, a number above {floor:.3g}: the smallest change that it predicts; "
                f"or a budget with --teacache-speedup."
            )
        return settings

    def is_distilled(self, options: argparse.Namespace, target: Target) -> bool:
        # The calibration comes last: there may be none.
        return target.distilled or is_distilled(target) or self._chosen(options, target).distilled

    def attach(self, options: argparse.Namespace, target: Target) -> None:
        calibration = self._calibration = self._chosen(options, target)
        self._curve = Curve(polynomial=calibration.polynomial, lower=calibration.lower, upper=calibration.upper)
        # Coefficients by hand are for whatever model their author had in mind.
        if options.coefficients is None:
            FILES.warn_if_made_elsewhere(calibration, target)
        _warn_if_poor(calibration)
        _warn_if_idle(self.threshold, calibration)

    def judge(self, step: Step) -> Verdict:
        signal, before = self._signal(step), self._previous
        self._previous = signal
        change = None if before is None else step.relative_l1(signal, before)
        return decide(change, self._curve, every_change=self.allowance is not None)

    def forget(self) -> None:
        self._previous = None

    def values(self, generation: Generation) -> Mapping[str, Any]:
        steps, curve = generation.active_steps, self._curve
        return {
            "calibration": self._calibration.name,
            "coefficients": list(curve.polynomial),
            "range": [curve.lower, curve.upper if math.isfinite(curve.upper) else None],
            "threshold": self.threshold,
            "max_computed": None if self.allowance is None else self.allowance.of(steps),
            "skip_first": resolve_window(self.limits.skip_first, steps),
            "skip_last": resolve_window(self.limits.skip_last, steps),
            "max_skips": self.limits.max_skips,
        }

    def _chosen(self, options: argparse.Namespace, target: Target) -> Calibration:
        """What the options name, else the model's."""
        if options.coefficients is None:
            return self._calibrations.get(options.calibration, target)
        # Thresholds are in units of the predicted change, whatever predicts it.
        known = of_model(target)
        return replace(Calibration.by_hand(options.coefficients), threshold=None if known is None else known.threshold)

    def _signal(self, step: Step) -> mx.array:
        signal: mx.array = getattr(step, self._calibration.signal)
        # Reference images hardly change from step to step: they would hide the change of the image being made.
        return step.target_part(signal) if self._calibration.rows == "target" else signal


def _warn_if_poor(calibration: Calibration) -> None:
    """Only of a file of one's own. Those that are shipped were published with what images at their threshold lose."""
    if calibration.is_poor and calibration not in FILES.shipped.values():
        warnings.warn(
            f"TeaCache's calibration {calibration.name} {calibration.fit_in_words}. {BETTER}.",
            PluginWarning,
            stacklevel=2,
        )


def _warn_if_idle(threshold: float | None, calibration: Calibration) -> None:
    """A threshold that the polynomial never undercuts looks like a plugin that does not work. 0 is on purpose."""
    floor = calibration.floor
    if threshold is not None and 0 < threshold <= floor:
        default = calibration.threshold
        hint = f" (its default is {default:g})" if default is not None and default > floor else ""
        warnings.warn(
            f"--teacache-thresh {threshold:g} will skip nothing: the smallest change that the calibration "
            f"{calibration.name} predicts is {floor:.3g}. Use a threshold above that{hint}.",
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
