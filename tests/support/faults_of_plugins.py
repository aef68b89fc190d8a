"""Faults of third parties' plugins: what their hooks raise, return and are."""

from __future__ import annotations

import asyncio
import decimal
import sys
import warnings
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from faults import EverySecond, Subject, fault, hook, method, named, plugin, quiet, raising
from mflux.utils.exceptions import StopImageGenerationException

from mflux_teacache import Decision, PluginError, PluginWarning, Step, attach

STOPS = (KeyboardInterrupt, StopImageGenerationException)


class Unspeakable(Exception):
    """An error whose words cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


RAISED: dict[str, Callable[[], BaseException]] = {
    "value_error": lambda: ValueError("no"),
    "error_without_a_word": lambda: RuntimeError(),
    "assertion": lambda: AssertionError(),
    "memory_error": lambda: MemoryError(),
    "recursion_error": lambda: RecursionError("too deep"),
    "system_exit": lambda: SystemExit(3),
    "generator_exit": lambda: GeneratorExit(),
    "cancelled": lambda: asyncio.CancelledError(),
    "ctrl_c": lambda: KeyboardInterrupt(),
    "mflux_stop": lambda: StopImageGenerationException("stopped"),
    "plugin_error": lambda: PluginError("a plugin raises one of ours itself, which is its right"),
    "warning": lambda: PluginWarning("a warning that is an error"),
    "unspeakable": lambda: Unspeakable(),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text"),
}

IN_THE_LOOP = ("mflux_generation_start", "mflux_step_start", "mflux_pre_transformer", "mflux_post_transformer")
AFTERWARDS = ("mflux_generation_end", "mflux_image_metadata")
BEFORE = ("mflux_check", "mflux_attach", "mflux_families")


def _raise(make: Callable[[], BaseException]) -> Any:
    raise make()


def _in_the_loop(name: str, make: Callable[[], BaseException]) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        attach(subject.model, plugin(**{name: hook(name, lambda: _raise(make))}))
        with raising(*STOPS, PluginError, PluginWarning):
            subject.image()
            raise AssertionError("the image was made as if nothing had been")

    return run


def _afterwards(name: str, make: Callable[[], BaseException]) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        handle = attach(subject.model, plugin(**{name: hook(name, lambda: _raise(make))}))
        with quiet():
            if isinstance(make(), STOPS):
                with raising(*STOPS):
                    subject.image()
            else:
                assert mx.array_equal(subject.image(), subject.cached)  # a finished image is not lost
                assert handle.stats.last_generation.status == "finished"

    return run


def _before(name: str, make: Callable[[], BaseException]) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        with raising(*STOPS, PluginError, PluginWarning):
            attach(subject.model, plugin(**{name: hook(name, lambda: _raise(make))}))
            raise AssertionError("attached as if nothing had been")

    return run


for _kinds, _make in ((IN_THE_LOOP, _in_the_loop), (AFTERWARDS, _afterwards), (BEFORE, _before)):
    for _hook in _kinds:
        for _name, _error in RAISED.items():
            named(f"{_name}_in_{_hook}", _make(_hook, _error))

# What is no decision: the image is not made, and plugin, hook and what is allowed are named.


class Unreadable:
    """What raises, however it is looked at."""

    @property
    def shape(self) -> tuple[int, ...]:
        raise RuntimeError("no shape")

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __hash__ = None  # type: ignore[assignment]


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

# What its hooks return after the image is made.


class NoMapping:
    def keys(self) -> Any:
        raise RuntimeError("no keys")


METADATA: dict[str, Callable[[], Any]] = {
    "a_mapping_that_raises": NoMapping,
    "a_number_of_many_digits": lambda: {"score": 10**2000},
    "many_lines": lambda: {"all": [1] * 100_000},
    "a_number": lambda: 5,
    "a_list": lambda: [1],
    "an_array": lambda: {"residual": mx.zeros((3,))},
    "nan": lambda: {"score": float("nan")},
    "keys_that_are_no_text": lambda: {(1, 2): 3},
    "a_set": lambda: {"steps": {1, 2}},
    "itself": lambda: _circle(),
    "endless_depth": lambda: _deep(100_000),
    "a_library": lambda: {"text": "x" * 10_000_000},
}


def _circle() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    return circle


def _deep(levels: int) -> dict[str, Any]:
    innermost: dict[str, Any] = {}
    deep = innermost
    for _ in range(levels):
        deep = {"in": deep}
    return deep


def _metadata(make: Callable[[], Any]) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        name = "mflux_image_metadata"
        with quiet() as caught, attach(subject.model, plugin(**{name: hook(name, make)})):
            assert mx.array_equal(subject.image(), subject.cached)
        assert [warning.category for warning in caught] == [PluginWarning]
        assert "odd" in str(caught[0].message)

    return run


for _name, _make in METADATA.items():
    named(f"metadata_that_is_{_name}", _metadata(_make))

# What attach() is given.


def _factories() -> dict[str, Any]:
    async def wait(self: Any) -> None: ...

    def generate(self: Any) -> Any:
        yield

    async def wait_for_more(self: Any) -> Any:
        yield

    def misnamed(self: Any) -> None: ...

    def asking_for_more(self: Any, step: Any, colour: Any) -> None: ...

    def without_self(step: Any) -> None: ...

    return {
        "returns_none": lambda: None,
        "returns_a_class": lambda: EverySecond,
        "raises": lambda: 1 / 0,
        "exits": lambda: sys.exit(3),
        "needs_arguments": type("P", (), {"__init__": lambda self, more: None}),
        "is_a_number": 5,
        "is_an_instance": EverySecond(),
        "has_an_async_hook": plugin(mflux_step_start=method("mflux_step_start", wait)),
        "has_a_generator_for_a_hook": plugin(mflux_step_start=method("mflux_step_start", generate)),
        "has_an_async_generator_for_a_hook": plugin(mflux_step_start=method("mflux_step_start", wait_for_more)),
        "has_a_misspelt_hook": plugin(mflux_step_begin=method("mflux_step_begin", misnamed)),
        "has_an_unmarked_hook": plugin(mflux_step_start=lambda self: None),
        "has_a_hook_with_unknown_arguments": plugin(mflux_step_start=method("mflux_step_start", asking_for_more)),
        "has_a_hook_that_is_a_number": plugin(mflux_step_start=5),
        "has_a_hook_without_self": plugin(mflux_step_start=method("mflux_step_start", without_self)),
        "gives_what_cannot_be_compared": Unreadable,
        "has_a_residual_after_beyond_printing": plugin(residual_after=-(10**5000)),
        "has_families_that_are_an_array": plugin(mflux_families=hook("mflux_families", lambda: np.zeros(3))),
        "has_families_that_cannot_be_read": plugin(mflux_families=hook("mflux_families", Unreadable)),
        "has_a_negative_residual_after": plugin(residual_after=-1),
        "has_a_residual_after_beyond_the_body": plugin(residual_after=99),
        "has_a_residual_after_of_text": plugin(residual_after="1"),
        "has_a_residual_after_that_raises": plugin(residual_after=property(lambda self: 1 / 0)),
        "has_a_record_that_is_text": plugin(about="yes"),
        "has_a_record_that_raises": plugin(about=property(lambda self: 1 / 0)),
        "has_families_that_are_a_number": plugin(mflux_families=hook("mflux_families", lambda: 5)),
        "has_families_that_are_text": plugin(mflux_families=hook("mflux_families", lambda: ["flux"])),
        "has_a_family_without_a_list": plugin(mflux_families=hook("mflux_families", lambda: {"flux": None})),
    }


def _factory(factory: Any) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        with raising(PluginError):
            attach(subject.model, factory)
            raise AssertionError("attached as if nothing had been")

    return run


for _name, _factory_ in _factories().items():
    named(f"a_plugin_that_{_name}", _factory(_factory_))


@fault
def a_plugin_that_warns_of_everything(subject: Subject) -> None:
    def warn(self: Any) -> None:
        warnings.warn("hear, hear", PluginWarning, stacklevel=2)

    hooks = {}
    for name in (*IN_THE_LOOP, *AFTERWARDS):
        if name not in ("mflux_pre_transformer", "mflux_post_transformer"):
            hooks[name] = hook(name, lambda: warn(None))
    with quiet(), attach(subject.model, plugin(**hooks)):
        assert mx.array_equal(subject.image(), subject.cached)


@fault
def a_plugin_that_keeps_everything(subject: Subject) -> None:
    kept: list[Any] = []

    def keep(self: Any, step: Any, body: Any) -> None:
        kept.extend((step, body, step.modulated_input))

    with attach(subject.model, plugin(mflux_post_transformer=method("mflux_post_transformer", keep))):
        subject.image()
    with raising(PluginError):
        _ = kept[0].latents
        raise AssertionError("the step is over")


@fault
def a_plugin_that_changes_what_it_is_given(subject: Subject) -> None:
    """In place, which the hooks forbid: the model's own arrays are not what it has in hand."""

    def change(self: Any, step: Any) -> None:
        latents = step.latents
        latents[...] = 0

    with attach(subject.model, plugin(mflux_step_start=method("mflux_step_start", change))):
        assert mx.array_equal(subject.image(), subject.cached)
