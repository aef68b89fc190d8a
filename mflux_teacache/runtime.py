"""One denoising step, top to bottom: tell, ask, compute or reuse, tell. Knows hooks and records, not mflux."""

from __future__ import annotations

import contextlib
import numbers
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import mlx.core as mx

from mflux_teacache.errors import (
    NEWER_MFLUX,
    BrokenPlugin,
    HookFailed,
    ModelFailed,
    PluginError,
    PluginWarning,
    UnsupportedModel,
    is_interruption,
)
from mflux_teacache.forward import Forward, Probed, Ran, Reuse
from mflux_teacache.messages import warn_kept
from mflux_teacache.pieces.distance import relative_l1 as _relative_l1
from mflux_teacache.plugins import DECIDES, Hooks, PluginSet
from mflux_teacache.records import COMPUTED, REUSED, Generation, Outcome, StepRecord
from mflux_teacache.spelling import kind_of
from mflux_teacache.step import Body, BodyBranch, Decision, Numbers, Step

_NUMBERS = tuple(Numbers.__annotations__)
_LONGEST_REASON = 200  # characters: a few words


def read_floats(*values: mx.array | float) -> list[float]:
    """Wait for the device, once, and return numbers. The only place where the runtime does."""
    mx.eval(*(value for value in values if isinstance(value, mx.array)))
    return [value.item() if isinstance(value, mx.array) else value for value in values]  # type: ignore[misc]


@dataclass(eq=False)
class _Step(Step):
    """A step under way: its forward is probed at the first read of a signal, and let go of when the step is over.

    Attributes:
        signals: those that were read, which are evaluated with the step.
    """

    _forward: Forward | None
    _sigma: float | None = None
    signals: list[mx.array] = field(default_factory=list)

    @property
    def active_steps(self) -> int:
        return self.generation.active_steps

    @property
    def sigma(self) -> float | None:
        with _model_s_own_errors():
            if self._sigma is None and (sigma := self._live.sigma()) is not None:
                [self._sigma] = read_floats(sigma)
        return self._sigma

    @property
    def modulated_input(self) -> mx.array:
        return self._keep(self._probe(first_block=False).modulated_input)

    @property
    def first_block_residual(self) -> mx.array:
        residual = self._probe(first_block=True).first_block_residual
        assert residual is not None
        return self._keep(residual)

    @property
    def latents(self) -> mx.array:
        with _model_s_own_errors():
            return self._live.latents()

    def target_part(self, signal: mx.array) -> mx.array:
        return signal[:, : self.generation.target_rows]

    def on_grid(self, signal: mx.array) -> mx.array | None:
        if self.generation.token_grid is None:
            return None
        (batch, rows, channels), (height, width) = signal.shape, self.generation.token_grid
        with _model_s_own_errors():
            first = self._live.first_token(rows, height * width)
        return signal[:, first : first + height * width].reshape(batch, height, width, channels)

    def relative_l1(self, now: mx.array, earlier: mx.array) -> float:
        if now.shape != earlier.shape or now.dtype != earlier.dtype:
            return float("nan")  # strategies compute a step whose change is not finite
        change = _relative_l1(now, earlier)
        with _model_s_own_errors():
            sigma = self._live.sigma() if self._sigma is None else self._sigma
            if sigma is None:
                return read_floats(change)[0]
            number, self._sigma = read_floats(change, sigma)  # the sigma comes with the same wait
        return number

    def close(self) -> None:
        """The forward holds the transformer, which must not live on in a step that a plugin keeps."""
        self._forward = None
        self.signals = []

    @property
    def _live(self) -> Forward:
        if self._forward is None:
            raise PluginError(
                "the signals of a step can be read until mflux_post_transformer has returned; this step is over. "
                "Keep the arrays that are needed later, not the step."
            )
        return self._forward

    def _probe(self, *, first_block: bool) -> Probed:
        with _model_s_own_errors():
            return self._live.probe(first_block=first_block)

    def _keep(self, signal: mx.array) -> mx.array:
        self.signals.append(signal)
        return signal


@contextlib.contextmanager
def _model_s_own_errors() -> Iterator[None]:
    """What mflux's forward raises is no fault of the plugin that reads from it, and arrives as without plugins."""
    try:
        yield
    except PluginError:
        raise
    except Exception as error:
        raise ModelFailed from error


class _OpenStep(NamedTuple):
    step: _Step
    decision: Decision
    branches: dict[int, Ran]


class Runtime:
    """Takes one image through the hooks of a set of plugins.

    Args:
        plugins: who is asked and told.
        generation: the image.
    """

    def __init__(self, plugins: PluginSet, generation: Generation) -> None:
        self.plugins = plugins
        self.generation = generation
        self._open: _OpenStep | None = None
        self._branches: int | None = None
        self._index, self._called = 0, 0.0
        self._warned: set[str] = set()
        self._at_output = False

    def start(self) -> None:
        """The denoising loop is about to begin."""
        tell(self.plugins, "mflux_generation_start", generation=self.generation)
        self._at_output = self.plugins.reuses == "output"  # a plugin may decide it for each image

    def predict(self, forward: Forward) -> Any:
        """One of mflux's calls for a prediction: the step's first one decides, the others follow."""
        if self._open is None:
            self._called = time.perf_counter()  # what comes before the body is a part of the step
        result, ran = forward.run(lambda: self._reuse(forward))
        if self._open is not None:
            self._open.branches.update(ran)
        return result

    def _reuse(self, forward: Forward) -> Reuse:
        # Here and not in ``predict``: signals can be read only once the forward has come to its body.
        self._open = self._open or self._begin(forward)
        decision = self._open.decision
        return Reuse(_given(decision) or (), at_output=decision.outputs is not None)

    def _begin(self, forward: Forward) -> _OpenStep:
        self.generation.begun.append(self._called)
        step = _Step(self._index, self.generation, self._branches, forward)
        tell(self.plugins, "mflux_step_start", step.index, step=step)
        decision = ask(self.plugins, DECIDES, step.index, step=step)
        return _OpenStep(step, self._checked(decision), {})

    def _checked(self, decision: object) -> Decision:
        """What a hook answered, as it is recorded.

        Raises:
            HookFailed: what it would reuse is of no use. Odd numbers and reasons, which are for people, are left out
                with a warning.
        """
        if decision is None:
            return Decision.compute()
        plugin = str(self.plugins.decider)
        try:
            checked, odd = _readable(_sound(decision))
        # Raised as what the hook raised: it is the plugin that has failed, whichever line of ours found it out.
        except Exception as error:  # also of a class of the plugin's own, which may raise anything when it is read
            raise HookFailed(plugin, DECIDES, self._index, error) from error
        for name in odd.keys() - self._warned:
            warn_kept(f"plugin {plugin!r}: {DECIDES} returned a Decision with {odd[name]}. It is left out.")
        self._warned |= odd.keys()
        return checked

    def end_step(self, latents: mx.array) -> None:
        """mflux's scheduler has taken its step; ``latents`` are the new ones, not evaluated.

        Raises:
            UnsupportedModel: it was the first step, and no prediction ran the body. Later ones mflux may leave out.
        """
        if self._index == 0 and (self._open is None or not self._open.branches):
            raise UnsupportedModel(
                "the transformer that the plugins are attached to was not called for the first denoising step, so they "
                f"would do nothing. Has it been replaced in the model since? Then attach again. Else {NEWER_MFLUX}"
            )
        if self._open is not None:
            # Together with the new latents, for which mflux is about to wait: residuals that stay lazy
            # would keep every activation of the step.
            mx.async_eval(latents, *self._finished(self._open))
        self._index += 1

    def _finished(self, finished: _OpenStep) -> list[mx.array]:
        """Tell of a step, record it and let go of it, but for what may be read later, which is returned.

        The body's inputs and outputs are as large as the stream: held by nothing while the step is evaluated, each is
        freed where mflux frees it.
        """
        (step, decision, ran), rows = finished, self.generation.target_rows
        body = Body(tuple(_branch(decision, number, branch, rows) for number, branch in ran.items()))
        self._branches = len(ran)
        tell(self.plugins, "mflux_post_transformer", step.index, step=step, body=body)
        self.generation.records.append(_record(step, decision, ran))
        kept = [*self._kept(body), *step.signals]
        self.close_step()
        return kept

    def _kept(self, body: Body) -> list[mx.array]:
        """What of a step may be reused later: nothing where no plugin decides."""
        computed = [branch for branch in body.branches if self.plugins.decider is not None and not branch.reused]
        # These are on the way to the latents, and cost nothing.
        outputs = [branch.model_output for branch in computed if branch.model_output is not None]
        return outputs if self._at_output else [*outputs, *(branch.residual for branch in computed)]

    def close_step(self) -> None:
        """Let go of a step that is over, or that an error or an interrupt has cut off."""
        if self._open is not None:
            self._open.step.close()
            self._open = None


def tell(plugins: Hooks, hook: str, step: int | None = None, /, **arguments: Any) -> None:
    """Call a hook of every plugin that has it.

    Raises:
        HookFailed: names the plugin whose hook raised, the hook and the step.
        UnsupportedModel: a signal that the hook read cannot be had of this model, which is no fault of the plugin.
    """
    for plugin, caller in plugins.callers[hook].items():
        _guarded(caller, plugin, hook, step, arguments)


def ask(plugins: Hooks, hook: str, step: int | None = None, /, **arguments: Any) -> Any:
    """The first answer that is not ``None``; raises as ``tell`` does."""
    for plugin, caller in plugins.callers[hook].items():
        answer = _guarded(caller, plugin, hook, step, arguments)
        if answer is not None:
            return answer
    return None


def _guarded(caller: Any, plugin: str, hook: str, step: int | None, arguments: dict[str, Any]) -> Any:
    try:
        return caller(**arguments)
    except (UnsupportedModel, PluginWarning):  # a warning is one that the user has made an error
        raise
    except ModelFailed as failure:
        raise failure.__cause__ or failure from None
    except BaseException as error:  # SystemExit, GeneratorExit and asyncio's CancelledError as well
        if is_interruption(error):
            raise
        raise HookFailed(plugin, hook, step, error) from error


def _sound(decision: object) -> Decision:
    """A hook's answer, if a step can go by it. Whether an array's shape fits is found out where its branch runs.

    Raises:
        BrokenPlugin: it cannot.
    """
    if not isinstance(decision, Decision):
        raise BrokenPlugin(f"it returned {kind_of(decision)} where a Decision or None is expected")
    if decision.residuals is not None and decision.outputs is not None:
        raise BrokenPlugin(
            "it has both residuals and outputs, where one of them is expected: Decision.reuse or reuse_outputs"
        )
    if decision.outputs is not None:
        _check_arrays(decision.outputs, "output", "Decision.reuse_outputs([output])")
    elif decision.residuals is not None:
        _check_arrays(decision.residuals, "residual", "Decision.reuse([residual])")
    return decision


def _check_arrays(arrays: object, what: str, example: str) -> None:
    if not isinstance(arrays, tuple | list):
        raise BrokenPlugin(f"its {what}s are {kind_of(arrays)}, where one for each branch is expected: {example}")
    for place, array in enumerate(arrays):
        kind = array.dtype if isinstance(array, mx.array) else type(array).__name__
        if array is not None and not (isinstance(kind, mx.Dtype) and mx.issubdtype(kind, mx.floating)):
            raise BrokenPlugin(
                f"its {what} for branch {place} is of {kind}, where an mlx array of a floating-point dtype is "
                f"expected, or None to compute"
            )


def _readable(decision: Decision) -> tuple[Decision, dict[str, str]]:
    """The same with numbers that are floats and a reason that is one line of text.

    Returns it, and what had to be left out, by its name and in words.
    """
    values = {name: getattr(decision, name) for name in _NUMBERS}
    floats = {name: _float(value) for name, value in values.items()}
    odd = {
        name: f"{name} = {kind_of(value)}, where a number or None is expected"
        for name, value in values.items()
        if value is not None and floats[name] is None
    }
    reason, forced = decision.reason, decision.forced
    if type(reason) is not str:  # of a class of its own, a text may be anything
        odd["reason"] = f"reason = {kind_of(reason)}, where a text is expected"
        reason = ""
    if not isinstance(forced, bool):
        odd["forced"] = f"forced = {kind_of(forced)}, where True or False is expected"
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


def _branch(decision: Decision, number: int, ran: Ran, target_rows: int | None) -> BodyBranch:
    body_input, output, reused = ran.input, ran.output, None
    if body_input is None or output is None:
        return BodyBranch.without_body(ran.model_output, number)
    if ran.in_full:  # the model has taken in its reference images: later steps have the target's rows alone
        body_input, output = body_input[:, :target_rows], output[:, :target_rows]
    if ran.reused:
        assert decision.residuals is not None
        reused = decision.residuals[number]
    residual = output - body_input if reused is None else reused
    return BodyBranch(body_input, output, residual, ran.reused, number, ran.model_output)


def _record(step: Step, decision: Decision, branches: Mapping[int, Ran]) -> StepRecord:
    letters = "".join(REUSED if branch.reused else COMPUTED for branch in branches.values())
    why = _why_computed(decision, branches)
    # Where nothing was reused at all, the plugin's reason to reuse would be misleading.
    own = "" if why and REUSED not in letters else decision.reason
    return StepRecord(
        index=step.index,
        sigma=step.sigma,
        decision=_outcome(letters, forced=decision.forced or bool(why)),
        reason="; ".join(filter(None, [own, *why])),
        branches=letters,
        **{name: getattr(decision, name) for name in _NUMBERS},
    )


def _outcome(letters: str, *, forced: bool) -> Outcome:
    """What the branches' letters come to. ``forced``: what was computed, was computed by a rule."""
    if REUSED in letters:
        return "partial" if COMPUTED in letters else "skipped"
    return "forced" if forced else "computed"


def _why_computed(decision: Decision, branches: Mapping[int, Ran]) -> list[str]:
    """Of branches for which the plugin gave something to reuse, or for which it has nothing yet."""
    given = _given(decision)
    if given is None:
        return []
    left_out = {number for number, array in enumerate(given) if array is None}  # the plugin said that they compute
    what = "residual" if decision.outputs is None else "output"
    computed = [number for number, branch in branches.items() if not branch.reused]
    in_full = [number for number in computed if branches[number].in_full]
    misfits = [number for number in computed if number not in in_full and number not in left_out]
    reasons = (("the model needs all of branch", in_full), (f"no {what} fits branch", misfits))
    return [f"{why} {', '.join(map(str, numbers))}" for why, numbers in reasons if numbers]


def _given(decision: Decision) -> Sequence[mx.array | None] | None:
    """What is to be reused, whichever of the two it is."""
    return decision.residuals if decision.outputs is None else decision.outputs
