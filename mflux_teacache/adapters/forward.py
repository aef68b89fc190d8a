"""mflux's call for one prediction as the runtime sees it: eager, or compiled in its phases."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from mflux_teacache.adapters.body import Body
from mflux_teacache.adapters.entry_check import Given
from mflux_teacache.adapters.probe_phase import Carry, Probe
from mflux_teacache.adapters.run_phase import Branch
from mflux_teacache.adapters.streams import Streams

Probing = Callable[[dict[str, Any], bool, Any], Any]
Running = Callable[[dict[str, Any], tuple[Any, ...], Any], Any]


class Forward:
    """One call for a prediction, with its arguments by name."""

    def __init__(self, body: Body, probe: Probing, run: Running, arguments: dict[str, Any]) -> None:
        self._family = body.family
        self._probe = probe
        self._run = run
        self._arguments = arguments

    def probe(self, *, first_block: bool, earlier: Probe | None) -> Probe:
        carried = None if earlier is None else _carried(earlier.carry())
        entry, modulated_input, *more = self._probe(self._arguments, first_block, carried)
        if not first_block:
            return Probe(Streams(*entry), modulated_input)
        first, first_block_residual = more
        return Probe(Streams(*entry), modulated_input, Streams(*first), first_block_residual)

    def run(self, residuals: Sequence[mx.array | None], carry: Carry | None) -> tuple[Any, list[Branch]]:
        carried = None if carry is None else _carried(carry)
        result, branches = self._run(self._arguments, tuple(residuals), carried)
        return result, [_branch(branch) for branch in branches]

    def sigma(self) -> mx.array | float | None:
        return self._family.sigma(self._given)

    def latents(self) -> mx.array:
        latents: mx.array = self._given.latents()
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
    def probe(arguments: dict[str, Any], first_block: bool, carried: Any) -> Any:
        carry = None if carried is None else _carry(*carried)
        found = body.probe(lambda: predict(**arguments), first_block=first_block, carry=carry)
        return tuple(_arrays(part) if isinstance(part, Streams) else part for part in found if part is not None)

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


def _carried(carry: Carry) -> tuple[tuple[mx.array, ...], ...]:
    return tuple(_arrays(streams) for streams in carry if streams is not None)


def _carry(entry: Sequence[mx.array], first: Sequence[mx.array] | None = None) -> Carry:
    return Carry(Streams(*entry), None if first is None else Streams(*first))


class _Core:
    """``mlx.core``, but some of its functions are others."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        vars(self).update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(mx, name)


def with_core(function: types.FunctionType, **functions: Callable[..., Any]) -> types.FunctionType:
    """The same code, to which ``mx.compile`` or other functions of ``mx`` are the given ones.

    Nothing global is patched, so other threads and models are not touched.
    """
    return with_globals(function, mx=_Core(**functions))


def plain_predict(factory: types.FunctionType, *args: Any) -> tuple[Callable[..., Any], bool]:
    """mflux's predict function as it is before compiling, and whether mflux would compile it."""
    asked = False

    def note(function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        nonlocal asked  # and not the function, which would then hold itself, and with it the transformer
        asked = True
        return function

    predict = with_core(factory, compile=note)(*args)
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
