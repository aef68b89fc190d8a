"""mflux's call for one prediction as the runtime sees it: eager, or compiled in its phases."""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from mflux_teacache.adapters.body import Body
from mflux_teacache.adapters.branches import Branches
from mflux_teacache.adapters.deciding_phase import Pause
from mflux_teacache.adapters.entry_check import Given
from mflux_teacache.adapters.probe_phase import Carry, Probe
from mflux_teacache.adapters.run_phase import Branch, Dtypes
from mflux_teacache.adapters.streams import Streams, own
from mflux_teacache.runtime import Residuals

Probing = Callable[[dict[str, Any], bool, Any], Any]
Running = Callable[[dict[str, Any], tuple[Any, ...], Any], Any]


class _Forward:
    """A call for a prediction.

    Args:
        arguments: of the call, by name.
        branches: those of the image.
        asked: what tells this call from others; ``None`` = its arguments.
    """

    def __init__(
        self, body: Body, arguments: dict[str, Any], branches: Branches, asked: dict[str, Any] | None = None
    ) -> None:
        self._body = body
        self._arguments = arguments
        # What is read of it, also when the step is over: a scheduler may step in place.
        self._entered = {
            name: own(value) if isinstance(value, mx.array) else value for name, value in arguments.items()
        }
        self._branches = branches
        self._prediction = branches.prediction(arguments, asked)

    def run(self, decide: Callable[[], Residuals]) -> tuple[Any, dict[int, Branch]]:
        def residuals() -> Residuals:
            """Of the branches that this prediction runs, as far as it is known which."""
            decided = decide()
            own = [decided[number] if number < len(decided) else None for number in self._prediction.branches]
            return own if any(residual is not None for residual in own) else ()

        result, ran = self._run(residuals)
        return result, self._branches.numbered(self._prediction, ran)

    def _run(self, residuals: Callable[[], Residuals]) -> tuple[Any, list[Branch]]:
        raise NotImplementedError

    def sigma(self) -> mx.array | float | None:
        return self._body.family.sigma(self._given)

    def latents(self) -> mx.array:
        latents: mx.array = self._given.latents()
        return latents

    @property
    def _given(self) -> Given:
        return Given(self._entered, "mflux's call for a prediction", self._body.family)


class EagerForward(_Forward):
    """A prediction that runs as Python, once: it pauses at block 0 until it is decided how to go on.

    Args:
        predict: what mflux calls.
    """

    def __init__(
        self,
        body: Body,
        predict: Callable[..., Any],
        arguments: dict[str, Any],
        branches: Branches,
    ) -> None:
        super().__init__(body, arguments, branches)
        self._predict = predict
        self._pause: Pause | None = None

    def _run(self, residuals: Callable[[], Residuals]) -> tuple[Any, list[Branch]]:
        def decide(pause: Pause) -> Residuals:
            self._pause = pause
            return residuals()

        return self._body.run_deciding(lambda: self._predict(**self._arguments), decide, self._prediction.dtypes)

    def probe(self, *, first_block: bool) -> Probe:
        assert self._pause is not None, "the forward has come to its body"
        return self._pause.probe(first_block=first_block)


class CompiledForward(_Forward):
    """A prediction in two compiled functions: as far as block 0, if a signal is read, and through.

    Args:
        predict: the functions.
    """

    def __init__(
        self,
        body: Body,
        predict: CompiledPredict,
        arguments: dict[str, Any],
        branches: Branches,
        asked: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(body, arguments, branches, asked)
        self._predict = predict
        self._found: Probe | None = None

    def _run(self, residuals: Callable[[], Residuals]) -> tuple[Any, list[Branch]]:
        with self._body.here.aside():
            decided = tuple(residuals())
        self._predict.dtypes = self._prediction.dtypes
        result, branches = self._predict.run(self._arguments, decided, self._carried())
        return result, [_branch(branch) for branch in branches]

    def probe(self, *, first_block: bool) -> Probe:
        entry, modulated_input, *more = self._predict.probe(self._entered, first_block, self._carried())
        first, first_block_residual = more if first_block else (None, None)
        first = None if first is None else Streams(*first)
        self._found = Probe(Streams(*entry), modulated_input, first, first_block_residual)
        return self._found

    def _carried(self) -> tuple[tuple[mx.array, ...], ...] | None:
        """From the latest probe, as arrays."""
        carry = () if self._found is None else self._found.carry()
        return tuple(_arrays(streams) for streams in carry if streams is not None) or None


class CompiledPredict:
    """A predict function that mflux compiles, compiled as two: probe, and run.

    It lives as long as mflux's own compiled function: one image. Residuals and the probe's arrays are inputs, since
    arrays that a compiled function captures are constants. The functions hold ``predict``, and nothing here holds them
    in a circle, so the transformer goes when mflux drops its predict.

    Attributes:
        dtypes: of the stream that residuals were made in, which ``run`` sees when it is traced, and cannot be given.
    """

    def __init__(self, body: Body, predict: Callable[..., Any]) -> None:
        if body.compiled_blocks is not None:
            body.compiled_blocks.change_nothing("mflux compiles this model itself")
        self.dtypes: Dtypes | None = None
        self.probe = mx.compile(_probing(body, predict))
        self.run = mx.compile(_running(body, predict, weakref.ref(self)))


def _probing(body: Body, predict: Callable[..., Any]) -> Probing:
    def probe(arguments: dict[str, Any], first_block: bool, carried: Any) -> Any:
        carry = None if carried is None else _carry(*carried)
        found = body.probe(lambda: predict(**arguments), first_block=first_block, carry=carry)
        return tuple(_arrays(part) if isinstance(part, Streams) else part for part in found if part is not None)

    return probe


def _running(body: Body, predict: Callable[..., Any], owner: weakref.ref[CompiledPredict]) -> Running:
    def run(arguments: dict[str, Any], residuals: tuple[Any, ...], carry: Any) -> Any:
        carried = None if carry is None else _carry(*carry)
        alive = owner()
        assert alive is not None, "who calls this holds it"
        result, branches = body.run(lambda: predict(**arguments), residuals, carried, alive.dtypes)
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
