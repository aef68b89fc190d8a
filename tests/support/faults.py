"""A fault harness: named faults, each a few lines, and the proof that none of them leaves anything behind.

A fault is a function of a :class:`Subject`. It does whatever a user, an app or a plugin may do to a model, and handles
what comes of it. Then ``Subject.verify`` asks for what holds after every fault: everything can be taken off, the model
is the object that it was, its plain image is bit for bit that of before, and so is the next attached one.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import cases_fibo
import mlx.core as mx
import tiny_models
from mlx.utils import tree_flatten
from tiny_models import same

from mflux_teacache import Body, Decision, PluginError, Step, attach, attached, hookimpl

STEPS = 4
SIZE = {"height": 32, "width": 32}
GUIDED = {"guidance": 4.0}


class EverySecond:
    """What is attached: every second step reuses what the one before computed."""

    def __init__(self) -> None:
        self.residuals: tuple[Any, ...] = ()

    @hookimpl
    def mflux_generation_start(self) -> None:
        self.residuals = ()

    @hookimpl
    def mflux_pre_transformer(self, step: Step) -> Decision | None:
        return Decision.reuse(self.residuals) if step.index % 2 else None

    @hookimpl
    def mflux_post_transformer(self, body: Body) -> None:
        if body.computed:
            self.residuals = body.residuals


def _fibo() -> Any:
    return cases_fibo.CASES["fibo-guidance"].make(None)[0]  # type: ignore[arg-type]


# One that mflux runs as Python, one that it compiles, with two calls for guidance, and one that batches guidance.
FAMILIES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "flux1": (tiny_models.flux1, {}),
    "flux2": (tiny_models.flux2, GUIDED),
    "fibo": (_fibo, GUIDED | {"prompt": '{"edit_instruction": "paint it red"}'}),
}


@dataclass(slots=True, eq=False)
class Subject:
    """A tiny model that faults are tried on, and what it gave before.

    Attributes:
        family: a key of ``FAMILIES``.
        model: the pipeline.
        plain: latents without plugins, and ``cached`` with ``EverySecond``.
        sound: nothing was done to it, or ``verify`` has found nothing.
    """

    family: str
    model: Any = field(init=False)
    plain: mx.array = field(init=False)
    cached: mx.array = field(init=False)
    sound: bool = True
    _before: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.model = self.make()
        self.plain = self.image()
        with attach(self.model, EverySecond):
            self.cached = self.image()
        assert not same(self.plain, self.cached)
        self._before = self._snapshot()

    def make(self) -> Any:
        """Another model with the same weights."""
        return FAMILIES[self.family][0]()

    def image(self, model: Any = None, **arguments: Any) -> mx.array:
        """The final latents of an image."""
        asked = {"num_inference_steps": STEPS, **SIZE, **FAMILIES[self.family][1], **arguments}
        return tiny_models.generate(self.model if model is None else model, **asked)

    def verify(self) -> None:
        """What holds after every fault."""
        self.sound = False
        if (handle := attached(self.model)) is not None:
            handle.restore()
        assert attached(self.model) is None
        assert self.is_untouched()
        assert same(self.image(), self.plain)
        with attach(self.model, EverySecond) as handle:
            assert same(self.image(), self.cached)
            assert handle.stats.last_generation.pattern == "CSCS"
        assert same(self.image(), self.plain)
        self.sound = True

    def is_untouched(self) -> bool:
        """Whether the model is the object that it was: classes, attributes, callbacks, and the very arrays."""
        *now, arrays = self._snapshot()
        *before, arrays_before = self._before
        alike = arrays.keys() == arrays_before.keys()
        return now == before and alike and all(array is arrays_before[name] for name, array in arrays.items())

    def _snapshot(self) -> tuple[Any, ...]:
        model = self.model
        registry = vars(model)["callbacks"]
        arrays = dict(tree_flatten(model.transformer.parameters()))
        return (
            type(model),
            {name: type(module) for name, module in model.named_modules()},
            {name: value for name, value in vars(model).items() if name not in ("_no_grad", "_training")},
            type(registry),
            {name: list(callbacks) for name, callbacks in vars(registry).items()},
            arrays,
        )


Fault = Callable[[Subject], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    """Register a fault under its function's name."""
    return named(function.__name__, function)


def named(name: str, function: Fault) -> Fault:
    """Register one of many faults that are made of the same lines."""
    assert name not in FAULTS, name
    FAULTS[name] = function
    return function


@contextlib.contextmanager
def raising(*expected: type[BaseException]) -> Iterator[None]:
    """Something of these kinds may be raised, and nothing else; an error of ours says what happened."""
    try:
        yield
    except expected as error:
        if isinstance(error, PluginError) and len(str(error)) < 20:
            raise AssertionError("an error without a word") from error
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Warnings are kept and not raised."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def plugin(**members: Any) -> type:
    """A plugin of these hooks and attributes, on top of ``EverySecond``."""
    return type("Odd", (EverySecond,), members)


def hook(name: str, function: Callable[..., Any]) -> Any:
    """A hook of a plugin, of a function without arguments."""

    def implementation(self: Any) -> Any:
        return function()

    return method(name, implementation)


def method(name: str, function: Callable[..., Any]) -> Any:
    """A hook of a plugin, of a function of ``self`` and arguments of the hook's."""
    function.__name__, function.__qualname__ = name, f"Odd.{name}"  # by which pluggy tells methods from functions
    return hookimpl(function)


@contextlib.contextmanager
def listening(model: Any, **methods: Any) -> Iterator[None]:
    """A user's callback, for as long as it lasts."""
    listener = SimpleNamespace(**methods)
    model.callbacks.register(listener)
    try:
        yield
    finally:
        for callbacks in vars(vars(model)["callbacks"]).values():
            if listener in callbacks:
                callbacks.remove(listener)


def fails(**_: Any) -> None:
    """A callback that raises."""
    raise ValueError("boom")


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
