"""TeaCache's calibrations: data files with their sources, and which of them fits a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from mflux_teacache.errors import OptionError, Refused
from mflux_teacache.pieces.data_files import DataFiles, Figures
from mflux_teacache.pieces.option_types import (
    AMOUNT,
    Allowed,
    is_amount,
    is_list_of,
    is_number,
    is_pair_of,
    is_text,
    is_window,
    one_of,
)
from mflux_teacache.records import Target

# Published polynomials have 5 coefficients. With many more, a fit follows noise, and the time to find its roots grows
# with the cube of their number.
MOST_COEFFICIENTS = 17

# Below this R2, less than half of the variance is predicted. Some published fits are as weak, but their sources
# published images as well; about a user's own fit nothing else is known.
_FAIR_FIT = 0.5
BETTER = (
    "Record more images in one run, of other prompts and seeds; or use a plugin that needs no calibration, such as "
    "easycache or first-block-cache"
)

Signal = Literal["modulated_input", "first_block_residual"]
Rows = Literal["target", "image"]


# Of a calibration's steps, enough to draw its fit: 70 images of 28 steps, in 60 kB.
MOST_CHANGES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration(Figures):
    """A polynomial from the change of a signal to the change of the body's output, and how it was made.

    A file has the same fields and ``"schema": 1``. Facts that were not recorded are ``None``.

    Attributes:
        signal: the attribute of ``Step`` whose relative L1 change goes into the polynomial.
        rows: ``target`` for the rows of the image being made; ``image`` includes those of reference images.
        polynomial: coefficients from the highest power to the constant.
        source: who published it, and where.
        revision: the revision of the model's weights.
        range: the smallest and the largest change that the fit saw.
        derived_upper: if ``range`` is not recorded, the largest change for which the polynomial is trusted,
            from :func:`derive_upper`; ``None`` if that finds no limit.
        threshold: the source's default.
        window: the source's default for ``skip_first`` and ``skip_last``: steps, or fractions of the run.
        steps, guidance, size, prompts: those of the runs on which it was fitted.
        quantize: bits per weight in those runs; 16 stands for weights that are not quantised.
        mflux_version, date: when it was made.
        r2: the share of the variance that the fit explains; ``r2_held_out`` is that on images it was not fitted on.
        distilled: the model is distilled to a few steps, where skipping has little to give.
        changes: what it was fitted to, of each step the signal's change and the residual's; at most ``MOST_CHANGES``.
    """

    signal: Signal
    rows: Rows
    polynomial: tuple[float, ...]
    source: str
    revision: str | None = None
    range: tuple[float, float] | None = None
    derived_upper: float | None = None
    threshold: float | None = None
    window: tuple[float, float] | None = None
    steps: int | None = None
    guidance: float | None = None
    quantize: int | None = None
    size: str | None = None
    prompts: tuple[str, ...] | None = None
    mflux_version: str | None = None
    date: str | None = None
    r2: float | None = None
    r2_held_out: float | None = None
    distilled: bool = False
    changes: tuple[Sequence[float], ...] | None = None

    @classmethod
    def by_hand(cls, coefficients: tuple[float, ...]) -> Calibration:
        """The calibration for coefficients that a user gave. They are evaluated as they are, on any model."""
        return cls(
            name="by hand",
            model="",
            pipelines=(),
            signal="modulated_input",
            rows="target",
            polynomial=coefficients,
            source="coefficients given by hand",
        )

    @property
    def lower(self) -> float:
        """The smallest change for which the polynomial is trusted; a smaller one counts as this one."""
        return self.range[0] if self.range else 0.0

    @property
    def upper(self) -> float:
        """The largest change for which the polynomial is trusted; infinite if there is no limit."""
        if self.range:
            return self.range[1]
        return math.inf if self.derived_upper is None else self.derived_upper

    @property
    def is_poor(self) -> bool:
        """Whether its fit is known to be poor."""
        # What counts is other images; the fit's own images have to do if none was held out.
        fit = self.r2 if self.r2_held_out is None else self.r2_held_out
        return fit is not None and fit < _FAIR_FIT

    @property
    def fit_in_words(self) -> str:
        """How good its fit is; a message puts this after the calibration's name. Its ``r2`` must be known."""
        held_out = self.r2_held_out is not None
        whose = "images that it was not fitted on" if held_out else "its own images, and no others,"
        fit = f"predicts {whose} with R2 {self.r2_held_out if held_out else self.r2:.3g}"
        if not self.is_poor:
            return fit
        return f"{fit}, which is poor: 0 is no better than their mean, and from {_FAIR_FIT} it is fair"

    @property
    def floor(self) -> float:
        """The smallest change that it can predict. With a threshold that is not above it, no step is ever skipped.

        Raises:
            OptionError: the extremes of its polynomial cannot be found.
        """
        return smallest_prediction(self.polynomial, self.lower, self.upper)


def derive_upper(polynomial: tuple[float, ...]) -> float | None:
    """The largest change up to which a polynomial is not negative and not past its last local maximum.

    It is ``None`` if there is no such limit, and 0 if the polynomial is negative from the start.
    """
    # A polynomial of degree 4 can fall steeply just outside of the data it was fitted on. TeaCache would then skip the
    # steps with the *largest* changes.
    maxima = [turn for turn in _turns_negative(_slope(polynomial)) if turn > 0]
    return min([*_turns_negative(polynomial)[:1], *maxima[-1:]], default=None)


def smallest_prediction(polynomial: tuple[float, ...], lower: float, upper: float) -> float:
    """The smallest value of a polynomial over a range, at least 0."""
    upper = min(upper, 1e6)  # in place of infinity, which cannot be evaluated; it is far past every turning point
    turns = [turn for turn in _positive_roots(_slope(polynomial)) if lower < turn < upper]
    return max(0.0, min(_value(polynomial, x) for x in (lower, upper, *turns)))


def _turns_negative(polynomial: tuple[float, ...] | list[float]) -> list[float]:
    """The places from 0 upwards where a polynomial falls below zero; 0 itself if it is negative right after it."""
    edges = [0.0, *_positive_roots(polynomial)]
    # Between two roots the sign is the same throughout, so the middle tells it; 2 beyond the last root is as good.
    between = [_value(polynomial, (left + right) / 2) for left, right in pairwise([*edges, edges[-1] + 2.0])]
    return [edge for edge, before, after in zip(edges, [0.0, *between], between, strict=False) if before >= 0 > after]


def _value(polynomial: tuple[float, ...] | list[float], x: float) -> float:
    with np.errstate(over="ignore", invalid="ignore"):  # far out the value may be infinite, and numpy would warn
        return float(np.polyval(polynomial, x))


def _slope(polynomial: tuple[float, ...]) -> list[float]:
    with np.errstate(over="ignore"):  # _positive_roots refuses a slope that is not finite
        slope: list[float] = np.polyder(polynomial).tolist()
    return slope


def _positive_roots(polynomial: tuple[float, ...] | list[float]) -> list[float]:
    """The real roots above 0, in order.

    Raises:
        OptionError: numpy cannot find them, because coefficients are too large or too far apart.
    """
    try:
        with np.errstate(all="ignore"):
            roots = np.roots(polynomial).tolist()
    except np.linalg.LinAlgError as error:
        raise OptionError(
            f"TeaCache cannot follow its polynomial: of {list(polynomial)} (its coefficients, or its slope's) some are "
            f"too large, or too small beside the others. Set to 0 what is next to nothing."
        ) from error
    # Rounding leaves real roots with a tiny imaginary part.
    return sorted({root.real for root in roots if abs(root.imag) < 1e-9 and root.real > 0})


def _upper(data: dict[str, Any], what: str) -> dict[str, Any]:
    """The derived bound of a file's polynomial. If the file states one, it must agree."""
    if data.get("range") is not None:
        upper = None
    else:
        upper = derive_upper(data["polynomial"])
        if upper == 0:
            raise OptionError(
                f"{what} has a polynomial that is negative from the start, so without a range it "
                f"could never skip. Record the range of changes that it was fitted on."
            )
    stated = data.get("derived_upper", upper)
    if stated != upper and not (stated and upper and math.isclose(stated, upper, rel_tol=1e-6)):
        raise OptionError(
            f"{what} has derived_upper = {stated}, but its polynomial and range give {upper}. "
            f"Leave the field out: it is computed."
        )
    return {"derived_upper": upper}


FILES = DataFiles(
    strategy="TeaCache",
    noun="calibration",
    option="--teacache-calibration",
    otherwise="--teacache-calibration with a file of your own, which --plugin teacache-record makes from a few images; "
    "or --teacache-coefficients and --teacache-thresh",
    recorder="teacache-record",
    folder=files("mflux_teacache.teacache").joinpath("calibrations"),
    record=Calibration,
    allowed={
        "signal": one_of(Signal),
        "rows": one_of(Rows),
        "polynomial": Allowed(
            is_list_of(is_number, at_least=1, at_most=MOST_COEFFICIENTS), f"a list of 1 to {MOST_COEFFICIENTS} numbers"
        ),
        "range": Allowed(
            lambda value: is_pair_of(is_amount)(value) and value[0] < value[1],
            "the smallest and the largest change, from 0 and in order",
        ),
        "derived_upper": AMOUNT,
        "threshold": AMOUNT,
        "window": Allowed(is_pair_of(is_window), "[first, last]: steps from 0, or fractions between 0 and 1"),
        "prompts": Allowed(is_list_of(is_text), "a list of prompts"),
        "changes": Allowed(
            is_list_of(is_pair_of(is_amount), at_least=1, at_most=MOST_CHANGES),
            f"a list of 1 to {MOST_CHANGES} pairs of changes, from 0",
        ),
    },
    derive=_upper,
)

load, find = FILES.load, FILES.nearest


def shipped() -> Mapping[str, Calibration]:
    """Every calibration of this package, by name."""
    return FILES.shipped


def of_model(target: Target) -> Calibration | None:
    """The calibration that ``find`` returns; ``None`` if there is none."""
    try:
        return find(target)
    except Refused:
        return None


def is_distilled(target: Target) -> bool:
    """Whether a target is known to be a model that is distilled to a few steps."""
    return any(entry.distilled for entry in shipped().values() if entry.distance(target) is not None)
