"""Predict functions, by which most pipelines call their transformer, and what of them mflux compiles.

What mflux compiles stays compiled, as two functions: one that runs as far as block 0, if a signal is read, and one that
runs through. Python runs *between* the two, and inside of them only while they are traced.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
import weakref
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mflux_teacache.adapters.entry_check import flat, of_method, takes_any
from mflux_teacache.adapters.seam.image import BaseForward, Body, Image
from mflux_teacache.adapters.seam.run import BlockCall, Here, Pause, Run, by_name, through
from mflux_teacache.adapters.seam.values import Carry, Made, Probe, Streams
from mflux_teacache.errors import UnsupportedModel
from mflux_teacache.forward import Ran, Reuse

_Arrays = tuple[tuple[mx.array, ...], ...]
_Probing = Callable[[dict[str, Any], bool, Any], Any]
_Running = Callable[[dict[str, Any], tuple[Any, ...], bool, Any], Any]


def factory(body: Body, original: Callable[..., Any], unseen: str) -> Callable[..., Any]:
    """In the place of a method that builds a predict function.

    Args:
        original: mflux's, bound.
        unseen: what is wrong, if it builds something else.
    """
    method = inspect.unwrap(original)
    owner, function = (method.__self__,) if inspect.ismethod(method) else (), getattr(method, "__func__", method)

    @functools.wraps(original)
    def build(*args: Any) -> Callable[..., Any]:
        predict, compiles = plain_predict(function, *owner, *args)
        if not inspect.isroutine(predict):
            raise UnsupportedModel(unseen)
        return _predicting(body, predict, functools.partial(original, *args), compiles=compiles)

    return build


def _predicting(
    body: Body, predict: Callable[..., Any], build_plain: Callable[[], Callable[..., Any]], *, compiles: bool
) -> Callable[..., Any]:
    """A predict function that asks the image of its thread.

    Args:
        predict: mflux's, before it compiles it.
        build_plain: makes mflux's own, for calls that belong to no image.
        compiles: mflux compiles it.
    """
    signature = inspect.signature(predict)
    open_ended = takes_any(signature)
    plain: list[Callable[..., Any]] = []
    halves = CompiledPredict(body, predict) if compiles else None

    def step(*args: Any, **kwargs: Any) -> Any:
        image = body.here.image
        if image is None or not image.is_waiting:
            # mflux's own is built only if it is called, and once: compiling it would be for nothing in most images.
            plain[:] = plain or [build_plain()]
            return plain[0](*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = flat(bound) if open_ended else bound.arguments
        return (
            image.run(predict, arguments) if halves is None else image.answer(CompiledForward(image, arguments, halves))
        )

    return step


class CompiledForward(BaseForward):
    """A prediction in two compiled functions."""

    def __init__(self, image: Image, arguments: dict[str, Any], halves: CompiledPredict) -> None:
        super().__init__(image, arguments)
        self._halves = halves
        self._found: Probe | None = None

    def run(self, decide: Callable[[], Reuse]) -> tuple[Any, dict[int, Ran]]:
        arrays, at_output = self._reuse(decide)
        # Dtypes and a shape are no arrays, so they can only be seen, when ``run`` is traced. They follow from dtypes
        # and shapes of what it is called with, and for others MLX traces it anew.
        self._halves.made = self._prediction.made
        result, branches = self._halves.run(self._arguments, tuple(arrays), at_output, self._carried())
        return result, self._image.branches.numbered(self._prediction, [_ran(branch) for branch in branches])

    def probe(self, *, first_block: bool) -> Probe:
        if self._found is None or (first_block and self._found.first_block_residual is None):
            carried, *signals = self._halves.probe(self._entered, first_block, self._carried())
            self._found = Probe(_carry(carried), *signals)
        return self._found

    def _carried(self) -> _Arrays | None:
        """From the latest probe, as arrays."""
        return None if self._found is None else _arrays(self._found.carry)


class CompiledPredict:
    """A predict function that mflux compiles, compiled as two: probe, and run.

    It lives as long as mflux's own compiled function: one image. Residuals and the probe's arrays are inputs, since
    arrays that a compiled function captures are constants. The functions hold ``predict``, and nothing here holds them
    in a circle, so the transformer goes when mflux drops its predict.

    Attributes:
        made: when the prediction was last computed, which ``run`` sees when it is traced, and cannot be given.
    """

    def __init__(self, body: Body, predict: Callable[..., Any]) -> None:
        if body.compiled_blocks is not None:
            body.compiled_blocks.change_nothing("mflux compiles this model itself")
        self.made: Made | None = None
        self.probe = mx.compile(_probing(body, predict))
        # Weak: else the compiled function, which we hold, would hold us, and the transformer until a collection.
        self.run = mx.compile(_running(body, predict, weakref.ref(self)))


def _probing(body: Body, predict: Callable[..., Any]) -> _Probing:
    def traced(arguments: dict[str, Any], first_block: bool, carried: Any) -> Any:
        found = probe(body, lambda: predict(**arguments), first_block=first_block, carry=carried and _carry(carried))
        carry, *signals = found
        return _arrays(carry), *(signal for signal in signals if signal is not None)

    return traced


def _running(body: Body, predict: Callable[..., Any], owner: weakref.ref[CompiledPredict]) -> _Running:
    def traced(arguments: dict[str, Any], arrays: tuple[Any, ...], at_output: bool, carried: Any) -> Any:
        alive = owner()
        assert alive is not None, "who calls this holds it"
        reuse = Reuse(arrays, at_output)
        result, branches = body.run(
            lambda: predict(**arguments), lambda _: reuse, carried and _carry(carried), alive.made
        )
        return result, [_told(branch) for branch in branches]

    return traced


def probe(body: Body, forward: Callable[[], Any], *, first_block: bool = False, carry: Carry | None = None) -> Probe:
    """Run ``forward`` up to block 0 of its first branch. What comes later in it is never built.

    Args:
        first_block: run block 0 too.
        carry: from an earlier probe of the same forward, which did not.
    """
    look = _Look(body, first_block, carry)
    with body.here.running(look), contextlib.suppress(_Stopped):
        forward()
    if look.found is None:
        raise UnsupportedModel(f"the transformer ran without calling block 0 of its body ({body.family.name}).")
    return look.found


class _Stopped(Exception):
    """Leaves the forward at block 0."""


class _Look(Run):
    """A run that ends at block 0.

    Attributes:
        found: ``None`` until block 0 has been called.
    """

    def __init__(self, body: Body, first_block: bool, carry: Carry | None) -> None:
        super().__init__(body.family, 0, lambda _: Reuse(), carry, None)
        self.found: Probe | None = None
        self._first_block = first_block

    def at(self, call: BlockCall) -> Any:
        pause = Pause(call, self._family, None if self._carry is None else self._carry.entry)
        self.found = pause.probe(first_block=self._first_block)
        raise _Stopped

    def evaluate(self, *_: Any) -> None:
        """Nothing: what a probe needs of it is evaluated with the signal."""


_FLAGS = ("reused", "in_full")


def _told(branch: Ran) -> dict[str, mx.array]:
    """What a branch did, in arrays: a compiled function returns nothing else. A flag that is set is an empty one."""
    told = branch._asdict()
    arrays = {name: value for name, value in told.items() if isinstance(value, mx.array)}
    # The names of what is returned are fixed when it is traced, so a flag is told by whether there is an array at all.
    return {**arrays, **{name: mx.zeros(0) for name in _FLAGS if told[name]}}


def _ran(told: dict[str, mx.array]) -> Ran:
    reused, in_full = (name in told for name in _FLAGS)
    return Ran(told.get("input"), told.get("output"), reused, in_full, told.get("model_output"))


def _arrays(carry: Carry) -> _Arrays:
    """A compiled function takes and returns arrays only: without a text stream or an output that is missing."""
    return tuple(tuple(part for part in streams if part is not None) for streams in carry if streams is not None)


def _carry(arrays: _Arrays) -> Carry:
    return Carry(*(Streams(*streams) for streams in arrays))


def compiling_itself(body: Body, cls: type) -> dict[str, Any]:
    """The members of a transformer's subclass where it compiles parts of itself.

    It compiles where it finds nothing compiled yet. So during an image it finds ours, and it keeps nothing.
    """
    forward: Callable[..., Any] = cls.__call__
    signature = of_method(cls, "__call__")

    def __call__(transformer: Any, *args: Any, **kwargs: Any) -> Any:
        image = body.here.image
        if image is not None and image.is_waiting:
            image.asked = by_name(signature, True, args, kwargs)
        return forward(transformer, *args, **kwargs)

    parts = {kept: _part(body, kept, method) for kept, method in body.family.compiles if hasattr(cls, method)}
    return {"__call__": __call__, **parts}


def _part(body: Body, kept: str, method: str) -> property:
    """The attribute in which a transformer keeps what it compiled of a method."""

    def get(transformer: Any) -> Any:
        image = body.here.image
        if image is not None and image.is_waiting:
            return _compiled_part(image, transformer, method)
        if kept in vars(transformer):
            return vars(transformer)[kept]
        raise AttributeError(kept)

    def put(transformer: Any, value: Any) -> None:
        vars(transformer)[kept] = value

    def drop(transformer: Any) -> None:
        del vars(transformer)[kept]

    return property(get, put, drop)


def _compiled_part(image: Image, transformer: Any, method: str) -> Callable[..., Any]:
    """What the transformer is to find in the place of a method of its own that it has compiled."""
    key = id(transformer), method
    if key not in image.parts:
        # Kept with the image and not on the transformer, where mflux would find ours after the image.
        predict = getattr(transformer, method)
        signature = inspect.signature(predict)
        halves = CompiledPredict(image.body, through(image.body.here, predict))
        image.parts[key] = lambda *args, **kwargs: image.answer(
            CompiledForward(image, by_name(signature, True, args, kwargs), halves)
        )
    return image.parts[key]


def with_core(function: types.FunctionType, **functions: Callable[..., Any]) -> types.FunctionType:
    """The same code, to which ``mx.compile`` or other functions of ``mx`` are the given ones.

    Nothing global is patched, so other threads and models are not touched.
    """
    return with_globals(function, mx=types.SimpleNamespace(**{**vars(mx), **functions}))


def deferring(here: Here, forward: types.FunctionType) -> types.FunctionType:
    """A forward that evaluates work beside the body, such as a ControlNet's blocks: as far as the run needs it."""

    def evaluate(*arrays: Any) -> None:
        (mx.eval if here.run is None else here.run.evaluate)(*arrays)

    return with_core(forward, eval=evaluate)


def plain_predict(builds: types.FunctionType, *args: Any) -> tuple[Callable[..., Any], bool]:
    """mflux's predict function as it is before compiling, and whether mflux would compile it."""
    asked = False

    def note(function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        nonlocal asked  # and not the function, which would then hold itself, and with it the transformer
        asked = True
        return function

    predict = with_core(builds, compile=note)(*args)
    return predict, asked


def with_globals(function: types.FunctionType, **replaced: Any) -> types.FunctionType:
    """The same code, in which some global names stand for something else."""
    copy = types.FunctionType(
        function.__code__,
        {**function.__globals__, **replaced},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
