"""From full runs to a calibration's polynomial: what is measured in a step, and the fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from mflux_teacache.step import Body, Step

DEGREE = 4  # that of all published calibrations


class Change(NamedTuple):
    """Relative L1 changes from one step to the next: TeaCache sees that of the signal, and predicts the residual's."""

    signal: float
    residual: float


def observed(step: Step, body: Body) -> tuple[mx.array, ...]:
    """The arrays whose changes count: the signal, then one residual per branch, each without reference images."""
    return tuple(
        step.target_part(array) for array in (step.modulated_input, *(each.residual for each in body.branches))
    )


def change(step: Step, now: Sequence[mx.array], before: Sequence[mx.array]) -> Change:
    """The change from what was observed in the step before; NaN if that had another shape."""
    # Branches are reused together, so each of them counts: hence the mean of their changes.
    signal, *residuals = (step.relative_l1(*pair) for pair in zip(now, before, strict=True))
    return Change(signal, float(np.mean(residuals)))


def fit(changes: Sequence[Change], degree: int = DEGREE) -> tuple[float, ...]:
    """The least-squares coefficients, from the highest power to the constant; NaN if numbers are too large to fit."""
    signals, residuals = zip(*changes, strict=True)
    try:
        with np.errstate(all="ignore"):
            coefficients, *_ = np.polyfit(signals, residuals, degree, full=True)  # without full, it warns of a poor fit
    except np.linalg.LinAlgError:
        return (math.nan,) * (degree + 1)
    return tuple(coefficients.tolist())


def unfit(changes: Sequence[Change], degree: int = DEGREE) -> str | None:
    """Why no polynomial can be fitted; ``None`` if one can."""
    different = len({change.signal for change in changes})
    if different <= degree:
        return (
            f"the number of different changes of its signal is {different}, and a polynomial of degree {degree} takes "
            f"{degree + 1}"
        )
    if not all(map(math.isfinite, fit(changes, degree))):
        return f"changes of up to {max(map(max, changes)):.3g} are too large to be fitted"
    return None


def r_squared(polynomial: Sequence[float], changes: Sequence[Change]) -> float:
    """The share of the residual changes' variance that the polynomial explains; NaN if they are all alike."""
    return _explained(predicted(polynomial, changes), changes)


def r_squared_held_out(images: Sequence[Sequence[Change]], degree: int = DEGREE) -> float:
    """The same for two or more images, each predicted by a polynomial that was fitted on the others."""
    predictions: list[float] = []
    for place, image in enumerate(images):
        others = list(chain.from_iterable([*images[:place], *images[place + 1 :]]))
        predictions += predicted(fit(others, degree), image)
    return _explained(predictions, list(chain.from_iterable(images)))


def predicted(polynomial: Sequence[float], changes: Sequence[Change]) -> list[float]:
    """The residual changes that the signals' changes predict."""
    with np.errstate(all="ignore"):
        predictions: list[float] = np.polyval(polynomial, [change.signal for change in changes]).tolist()
    return predictions


def _explained(predictions: Sequence[float], changes: Sequence[Change]) -> float:
    residuals = np.array([change.residual for change in changes])
    with np.errstate(all="ignore"):
        errors = residuals - np.array(predictions)
        variance = np.sum((residuals - residuals.mean()) ** 2)
        return float(1 - np.sum(errors**2) / variance) if variance else math.nan
