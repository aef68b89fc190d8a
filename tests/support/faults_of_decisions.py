"""Odd decisions of third parties' plugins: of another type, with residuals that do not fit, with odd numbers."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from faults import EverySecond, Subject, Unreadable, method, named, plugin, quiet, raising

from mflux_teacache import Decision, PluginError, Step, attach

# What is no decision: the image is not made, and plugin, hook and what is allowed are named.


class HalfMade(Decision):
    """A decision without numbers and reason."""

    def __init__(self) -> None:
        object.__setattr__(self, "residuals", None)


class NoFloat(float):
    def __float__(self) -> float:
        raise RuntimeError("no number")


NO_DECISIONS: dict[str, Callable[[EverySecond], Any]] = {
    "a_number_beyond_printing": lambda self: 10**5000,
    "what_cannot_be_read": lambda self: Unreadable(),
    "half_of_one": lambda self: HalfMade(),
    "nothing_to_reuse": lambda self: Decision.reuse(None),  # type: ignore[arg-type]
    "an_array_to_reuse": lambda self: Decision.reuse(self.residuals[0]),  # type: ignore[arg-type]
    "true": lambda self: True,
    "text": lambda self: "skip",
    "a_class": lambda self: Decision,
    "an_array": lambda self: self.residuals[0],
    "residuals": lambda self: self.residuals,
    "residuals_that_are_an_array": lambda self: Decision(residuals=self.residuals[0]),
    "residuals_that_are_a_number": lambda self: Decision(residuals=5),  # type: ignore[arg-type]
    "residuals_that_are_text": lambda self: Decision(residuals="all"),  # type: ignore[arg-type]
    "residuals_that_are_a_generator": lambda self: Decision(residuals=(r for r in self.residuals)),  # type: ignore[arg-type]
    "a_residual_that_is_a_number": lambda self: Decision.reuse([0.0]),  # type: ignore[list-item]
    "a_numpy_residual": lambda self: Decision.reuse([np.zeros((1, 4, 4), np.float32)]),  # type: ignore[list-item]
    "a_complex_residual": lambda self: Decision.reuse([self.residuals[0].astype(mx.complex64)]),
    "an_integer_residual": lambda self: Decision.reuse([self.residuals[0].astype(mx.int32)]),
}


def _deciding(decide: Callable[[EverySecond], Any]) -> type:
    def mflux_pre_transformer(self: EverySecond, step: Step) -> Any:
        return decide(self) if step.index else None

    return plugin(mflux_pre_transformer=method("mflux_pre_transformer", mflux_pre_transformer))


def _no_decision(decide: Callable[[EverySecond], Any]) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        attach(subject.model, _deciding(decide))
        with raising(PluginError):
            subject.image()
            raise AssertionError("the image was made as if nothing had been")

    return run


for _name, _decide in NO_DECISIONS.items():
    named(f"{_name}_for_a_decision", _no_decision(_decide))

# Residuals that do not fit compute, and so the image is the plain one.

MISFITS: dict[str, Callable[[EverySecond], Any]] = {
    "none_at_all": lambda self: Decision.reuse([]),
    "none_for_each": lambda self: Decision.reuse([None] * 7),
    "a_scalar": lambda self: Decision.reuse([mx.array(1.0)] * 2),
    "another_width": lambda self: Decision.reuse([r[..., :-1] for r in self.residuals]),
    "another_length": lambda self: Decision.reuse([r[:, 1:] for r in self.residuals]),
    "another_batch": lambda self: Decision.reuse([mx.concatenate([r, r]) for r in self.residuals]),
    "one_dimension_more": lambda self: Decision.reuse([r[None] for r in self.residuals]),
    "empty_arrays": lambda self: Decision.reuse([mx.zeros((0,))] * 2),
}


def _misfit(decide: Callable[[EverySecond], Any]) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        attach(subject.model, _deciding(decide))
        assert mx.array_equal(subject.image(), subject.plain)

    return run


for _name, _decide in MISFITS.items():
    named(f"residuals_of_{_name}", _misfit(_decide))

# What is for people only is left out with a warning, and the image is made.

ODD: dict[str, Any] = {
    "text": "0.3",
    "complex": 1j,
    "an_mlx_array": mx.array([0.1, 0.2]),
    "a_numpy_array": np.zeros(3),
    "a_huge_whole_number": 10**400,
    "beyond_printing": 10**5000,
    "unreadable": Unreadable(),
    "no_float": NoFloat(0.5),
    "a_dict": {},
    "a_class": int,
    "true": True,
}
FINE: dict[str, Any] = {
    "a_subnormal": 5e-324,
    "infinity": float("inf"),
    "nan": float("nan"),
    "minus_zero": -0.0,
    "a_numpy_number": np.float32(0.25),
    "a_decimal": decimal.Decimal("0.1"),
    "a_whole_number": 3,
}


def _numbers(value: Any, *, warns: bool) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        for number in ("change", "prediction", "running_sum", "threshold"):
            odd = _deciding(lambda self: Decision(**{number: value}))
            with quiet() as caught, attach(subject.model, odd) as handle:
                assert mx.array_equal(subject.image(), subject.plain)
            assert len(caught) == warns
            recorded = getattr(handle.stats.last_generation.decisions[1], number)
            assert recorded is None if warns else isinstance(recorded, float | None)

    return run


for _name, _value in ODD.items():
    named(f"a_number_that_is_{_name}", _numbers(_value, warns=True))
for _name, _value in FINE.items():
    named(f"a_number_that_is_{_name}", _numbers(_value, warns=_name == "a_decimal"))

REASONS: dict[str, Any] = {
    "a_number": 0.3,
    "none": None,
    "bytes": b"because",
    "a_book": "because " * 10_000,
    "of_many_lines": "be\r\ncause\x1b[2J",
    "an_array": mx.array(1.0),
}


def _reason(value: Any) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        with quiet(), attach(subject.model, _deciding(lambda self: Decision.compute(value, forced=True))) as handle:
            assert mx.array_equal(subject.image(), subject.plain)
        reason = handle.stats.last_generation.decisions[1].reason
        assert isinstance(reason, str)
        assert len(reason) <= 200
        assert "\n" not in reason

    return run


for _name, _value in REASONS.items():
    named(f"a_reason_that_is_{_name}", _reason(_value))
