"""What a plugin decided, checked where it comes in: arrays must be of use, and numbers and words are for people."""

from __future__ import annotations

import numbers
from dataclasses import replace
from typing import Any

import mlx.core as mx

from mflux_teacache.errors import brief
from mflux_teacache.records import Decision

_NUMBERS = ("change", "prediction", "running_sum", "threshold")
_LONGEST_REASON = 200  # characters: a few words


def misfit_of(decision: object) -> str | None:
    """What is wrong with a hook's answer; ``None`` if nothing is. Whether a residual's shape fits, its branch tells."""
    if not isinstance(decision, Decision):
        return f"it returned {_kind(decision)} where a Decision or None is expected"
    residuals = decision.residuals
    if residuals is not None and not isinstance(residuals, tuple | list):
        return (
            f"its residuals are {_kind(residuals)}, where one for each branch is expected: Decision.reuse([residual])"
        )
    for place, residual in enumerate(residuals or ()):
        if residual is None:
            continue
        kind = residual.dtype if isinstance(residual, mx.array) else type(residual).__name__
        if not isinstance(kind, mx.Dtype) or not mx.issubdtype(kind, mx.floating):
            return (
                f"its residual for branch {place} is of {kind}, where an mlx array of a floating-point dtype is "
                f"expected, or None to compute"
            )
    return None


def readable(decision: Decision) -> tuple[Decision, dict[str, str]]:
    """The same with numbers that are floats and a reason that is one line of text.

    Returns it, and what had to be left out, by its name and in words.
    """
    values = {name: getattr(decision, name) for name in _NUMBERS}
    floats = {name: _float(value) for name, value in values.items()}
    odd = {
        name: f"{name} = {_kind(value)}, where a number or None is expected"
        for name, value in values.items()
        if value is not None and floats[name] is None
    }
    reason, forced = decision.reason, decision.forced
    if type(reason) is not str:  # of a class of its own, a text may be anything
        odd["reason"] = f"reason = {_kind(reason)}, where a text is expected"
        reason = ""
    if not isinstance(forced, bool):
        odd["forced"] = f"forced = {_kind(forced)}, where True or False is expected"
        forced = False
    checked: dict[str, Any] = {**floats, "reason": " ".join(reason.split())[:_LONGEST_REASON], "forced": forced}
    return replace(decision, **checked), odd


def _float(value: Any) -> float | None:
    """``None`` for what is no real number, or too large for a float."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except Exception:  # noqa: BLE001 - whatever a number of the plugin's own raises
        return None


def _kind(value: Any) -> str:
    """A value in a few words: of an array its kind, whose numbers would have to be computed first."""
    try:
        return f"an {type(value).__name__}" if hasattr(value, "shape") else brief(value)
    except Exception:  # noqa: BLE001 - whatever its attributes raise
        return f"a value of the type {type(value).__name__}"
