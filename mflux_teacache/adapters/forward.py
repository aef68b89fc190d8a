"""mflux's call for one prediction as the runtime sees it: eager, or compiled in its phases."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from mflux_teacache.adapters.body import Body, Branch, Carry, Probe, Streams
from mflux_teacache.adapters.entry_check import Given

Probing = Callable[[dict[str, Any]], Any]
Running = Callable[[dict[str, Any], tuple[Any, ...], Any], Any]


class Forward:
    """One call for a prediction, with its arguments by name."""

    def __init__(self, body: Body, probe: Probing, run: Running, arguments: dict[str, Any]) -> None:
        self._family = body.family
        self._probe = probe
        self._run = run
        self._arguments = arguments

    def probe(self) -> Probe:
        entry, first, modulated_input, first_block_residual = self._probe(self._arguments)
        return Probe(Streams(*entry), Streams(*first), modulated_input, first_block_residual)

    def run(self, residuals: Sequence[mx.array | None], carry: Carry | None) -> tuple[Any, list[Branch]]:
        carried = None if carry is None else tuple(_arrays(streams) for streams in carry if streams is not None)
        result, branches = self._run(self._arguments, tuple(residuals), carried)
        return result, [_branch(branch) for branch in branches]

    def sigma(self) -> mx.array | float | None:
        return self._family.sigma(self._given)

    def latents(self) -> mx.array:
        latents: mx.array = self._given.first(self._family.latents)
        return latents

    @property
    def _given(self) -> Given:
        return Given(self._arguments, "mflux's call for a prediction", self._family)


def eager_forward(body: Body, predict: Callable[..., Any]) -> Callable[[dict[str, Any]], Forward]:
    """From arguments to a call that runs as Python."""
    return functools.partial(Forward, body, _probing(body, predict), _running(body, predict))


def compiled_forward(body: Body, predict: Callable[..., Any]) -> Callable[[dict[str, Any]], Forward]:
    """From arguments to a call of a predict function that mflux compiles, compiled as two: probe, and run.

    They live as long as mflux's own compiled function: one image. Residuals and the probe's arrays are
    inputs, since arrays that a compiled function captures are constants. The functions hold ``predict``, and
    nothing here holds them in a circle, so the transformer goes when mflux drops its predict.
    """
    return functools.partial(Forward, body, mx.compile(_probing(body, predict)), mx.compile(_running(body, predict)))


def _probing(body: Body, predict: Callable[..., Any]) -> Probing:
    def probe(arguments: dict[str, Any]) -> Any:
        found = body.probe(lambda: predict(**arguments))
        return _arrays(found.entry), _arrays(found.first), found.modulated_input, found.first_block_residual

    return probe


def _running(body: Body, predict: Callable[..., Any]) -> Running:
    def run(arguments: dict[str, Any], residuals: tuple[Any, ...], carry: Any) -> Any:
        carried = None if carry is None else _carry(*carry)
        result, branches = body.run(lambda: predict(**arguments), residuals, carried)
        # A compiled function returns arrays only; the key tells what the branch did.
        return result, [{_done(branch): (branch.input, branch.output)} for branch in branches]

    return run


def _done(branch: Branch) -> str:
    if branch.reused:
        return "reused"
    return "computed in full" if branch.in_full else "computed"


def _branch(arrays: dict[str, tuple[mx.array, mx.array]]) -> Branch:
    [(done, (body_input, output))] = arrays.items()
    return Branch(body_input, output, reused=done == "reused", in_full=done == "computed in full")


def _arrays(streams: Streams) -> tuple[mx.array, ...]:
    """A compiled function takes and returns arrays only: without the ``None`` of a missing text stream."""
    return tuple(array for array in streams if array is not None)


def _carry(entry: Sequence[mx.array], first: Sequence[mx.array] | None = None) -> Carry:
    return Carry(Streams(*entry), None if first is None else Streams(*first))


class _CompileNoted:
    """``mlx.core``, but ``compile`` hands its function back and notes that it was asked."""

    def __init__(self) -> None:
        self.asked = False

    def __getattr__(self, name: str) -> Any:
        return getattr(mx, name)

    def compile(self, function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        self.asked = True
        return function


def plain_predict(factory: types.FunctionType, *args: Any) -> tuple[Callable[..., Any], bool]:
    """mflux's predict function as it is before compiling, and whether mflux would compile it.

    Runs the factory's own code with its own globals, in which ``mx`` alone is replaced: nothing global is
    patched, so other threads and models are not touched.
    """
    noted = _CompileNoted()
    return with_globals(factory, mx=noted)(*args), noted.asked


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


def bind(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, with defaults."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments
