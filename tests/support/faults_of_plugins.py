"""Faults of third parties' plugins: what their hooks raise, return and are."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
from faults import EverySecond, Subject, Unreadable, fault, hook, method, named, plugin, quiet, raising
from mflux.utils.exceptions import StopImageGenerationException

from mflux_teacache import PluginError, PluginWarning, attach

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
