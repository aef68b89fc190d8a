"""The fit of a calibration's polynomial, and how much of the changes it explains."""

from __future__ import annotations

import pytest

from mflux_teacache.teacache import fitting
from mflux_teacache.teacache.fitting import Change
from mflux_teacache.teacache.plugin import evaluate

POLYNOMIAL = (2.0, -1.0, 0.5, 0.25, 0.125)


def on_the_curve(signals: list[float]) -> list[Change]:
    return [Change(signal, evaluate(POLYNOMIAL, signal)) for signal in signals]


def test_a_known_polynomial_is_found_again() -> None:
    changes = on_the_curve([0.1, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert fitting.fit(changes) == pytest.approx(POLYNOMIAL)
    assert fitting.r_squared(POLYNOMIAL, changes) == pytest.approx(1.0)


def test_r_squared_by_hand() -> None:
    # Always predicting 2 for 1, 2, 3: errors 1, 0, 1 are the whole variance. Predicting 3: 4 + 1 + 0 over 2.
    changes = [Change(0.1, 1.0), Change(0.2, 2.0), Change(0.3, 3.0)]
    assert fitting.r_squared((2.0,), changes) == pytest.approx(0.0)
    assert fitting.r_squared((3.0,), changes) == pytest.approx(-1.5)


def test_an_image_is_held_out_of_the_fit_that_predicts_it() -> None:
    # Degree 0 is the mean, of the other image: 1 and 1 are predicted as 3, 3 and 3 as 1. Errors of 2, a variance of 1.
    images = [[Change(0.1, 1.0), Change(0.2, 1.0)], [Change(0.1, 3.0), Change(0.2, 3.0)]]
    assert fitting.r_squared_held_out(images, degree=0) == pytest.approx(1 - 4)
    alike = [on_the_curve([0.1, 0.2, 0.4, 0.6, 0.8, 1.0]), on_the_curve([0.15, 0.3, 0.5, 0.7, 0.9])]
    assert fitting.r_squared_held_out(alike) == pytest.approx(1.0)
