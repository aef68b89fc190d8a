"""One denoising step, top to bottom: tell, ask, compute or reuse, tell. Knows hooks and records, not mflux."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import mlx.core as mx

from mflux_teacache.decision_check import misfit_of, readable
from mflux_teacache.errors import (
    BrokenPlugin,
    HookFailed,
    ModelFailed,
    PluginError,
    UnsupportedModel,
    described,
    is_interruption,
)
from mflux_teacache.kept import warn_kept
from mflux_teacache.plugins import DECIDES, PluginSet
from mflux_teacache.records import (
    Body,
    BodyBranch,
    Decision,
    Generation,
    GenerationStats,
    Outcome,
    Status,
    Step,
    StepRecord,
)


class Probed(Protocol):
    """What a forward knows before its body runs."""

    @property
    def modulated_input(self) -> mx.array: ...
    @property
    def first_block_residual(self) -> mx.array | None:
        """``None`` if block 0 was not asked for."""


class Ran(Protocol):
    """One guidance branch that a forward has run."""

    @property
    def input(self) -> mx.array: ...
    @property
    def output(self) -> mx.array: ...
    @property
    def reused(self) -> bool: ...
    @property
    def in_full(self) -> bool:
        """It had to run, whatever was decided: the model keeps more of it than its output."""


Residuals = Sequence[mx.array | None]


class Forward(Protocol):
    """One of mflux's calls for a prediction; the adapter's whole interface to the runtime.

    A step may need several: mflux calls some transformers once per guidance branch.
    """

    def run(self, decide: Callable[[], Residuals]) -> tuple[Any, Mapping[int, Ran]]:
        """Run through, and return mflux's result and the branches that ran.

        They are in the order in which they ran, by the numbers that they have in the image, and each reuses the
        residual of its own number where it fits. ``decide`` is called once, before the body would run; from then on the
        forward can be probed.
        """

    def probe(self, *, first_block: bool) -> Probed:
        """What is known at the body's block 0, and of block 0 itself."""

    def sigma(self) -> mx.array | float | None:
        """Noise level, 1 = pure noise."""

    def latents(self) -> mx.array:
        """What is being denoised."""


def read_floats(*values: mx.array | float) -> list[float]:
    """Wait for the device, once, and return numbers. The only place where the runtime does."""
    mx.eval(*(value for value in values if isinstance(value, mx.array)))
    return [value.item() if isinstance(value, mx.array) else value for value in values]  # type: ignore[misc]


@mx.compile
def _relative_l1(now: mx.array, earlier: mx.array) -> mx.array:
    """Compiled, since launching kernels is most of what a skipped step of a small image takes."""
    now, earlier = now.astype(mx.float32), earlier.astype(mx.float32)
    return mx.abs(now - earlier).mean() / mx.abs(earlier).mean()


@dataclass(slots=True)
class _Signals:
    """What a :class:`Step` reads: probes its forward at the first read, and lets go of it when the step is over."""

    forward: Forward | None
    known_sigma: float | None = None
    probed: Probed | None = None
    read: list[mx.array] = field(default_factory=list)

    def probe(self, *, first_block: bool) -> Probed:
        if self.probed is None or (first_block and self.probed.first_block_residual is None):
            with _model_s_own_errors():
                self.probed = self._live.probe(first_block=first_block)
        return self.probed

    @property
    def _live(self) -> Forward:
        if self.forward is None:
            raise PluginError(
                "the signals of a step can be read until mflux_post_transformer has returned; this step is over. "
                "Keep the arrays that are needed later, not the step."
            )
        return self.forward

    def modulated_input(self) -> mx.array:
        return self._keep(self.probe(first_block=False).modulated_input)

    def first_block_residual(self) -> mx.array:
        residual = self.probe(first_block=True).first_block_residual
        assert residual is not None
        return self._keep(residual)

    def latents(self) -> mx.array:
        with _model_s_own_errors():
            return self._live.latents()

    def sigma(self) -> float | None:
        with _model_s_own_errors():
            if self.known_sigma is None and (sigma := self._live.sigma()) is not None:
                [self.known_sigma] = read_floats(sigma)
        return self.known_sigma

    def relative_l1(self, now: mx.array, earlier: mx.array) -> float:
        if now.shape != earlier.shape or now.dtype != earlier.dtype:
            return float("nan")
        change = _relative_l1(now, earlier)
        with _model_s_own_errors():
            sigma = self._live.sigma() if self.known_sigma is None else self.known_sigma
            if sigma is None:
                return read_floats(change)[0]
            number, self.known_sigma = read_floats(change, sigma)  # the sigma comes with the same wait
        return number

    def close(self) -> None:
        """The forward holds the transformer, which must not live on in a step that a plugin keeps."""
        self.forward = self.probed = None
        self.read = []

    def _keep(self, signal: mx.array) -> mx.array:
        self.read.append(signal)
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
    step: Step
    decision: Decision
    signals: _Signals
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
        self._begun = 0.0
        self._index = 0
        self._warned: set[str] = set()
        self._untold = plugins.implementers("mflux_generation_end")
        self._stats: GenerationStats | None = None

    def start(self) -> None:
        """The denoising loop is about to begin."""
        self._begun = time.perf_counter()
        self.plugins.tell("mflux_generation_start", generation=self.generation)

    def predict(self, forward: Forward) -> Any:
        """One of mflux's calls for a prediction: the step's first one decides, the others follow."""
        result, ran = forward.run(lambda: self._residuals(forward))
        if self._open is not None:
            self._open.branches.update(ran)
        return result

    def _residuals(self, forward: Forward) -> Residuals:
        """By the numbers of the branches."""
        self._open = self._open or self._begin(forward)
        return self._open.decision.residuals or ()

    def _begin(self, forward: Forward) -> _OpenStep:
        signals = _Signals(forward)
        step = Step(self._index, self.generation, self._branches, signals)
        self.plugins.tell("mflux_step_start", step.index, step=step)
        decision = self.plugins.ask(DECIDES, step.index, step=step)
        return _OpenStep(step, self._checked(decision), signals, {})

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
            misfit = misfit_of(decision)
            if misfit is not None or not isinstance(decision, Decision):
                raise BrokenPlugin(misfit)
            decision, odd = readable(decision)
        except Exception as error:  # also of a class of the plugin's own, which may raise anything when it is read
            raise HookFailed(plugin, DECIDES, self._index, error) from error
        for name in odd.keys() - self._warned:
            warn_kept(f"plugin {plugin!r}: {DECIDES} returned a Decision with {odd[name]}. It is left out.")
        self._warned |= odd.keys()
        return decision

    def end_step(self, latents: mx.array) -> None:
        """mflux's scheduler has taken its step; ``latents`` are the new ones, not evaluated.

        Raises:
            UnsupportedModel: it was the first step, and no prediction ran the body. Later ones mflux may leave out.
        """
        if self._index == 0 and (self._open is None or not self._open.branches):
            raise UnsupportedModel(
                "the transformer that the plugins are attached to was not called for the first denoising step, so they "
                "would do nothing. Has it been replaced in the model since? Then attach again. Else this version of "
                "mflux may be newer than the newest supported one: upgrade mflux-teacache-plugin."
            )
        if self._open is not None:
            step, decision, signals, ran = self._open
            rows = step.generation.target_rows
            body = Body(tuple(_branch(decision, number, branch, rows) for number, branch in ran.items()))
            self._branches = len(ran)
            self.plugins.tell("mflux_post_transformer", step.index, step=step, body=body)
            self.generation.records.append(_record(step, decision, ran, signals))
            kept = [branch.residual for branch in body.branches if not branch.reused] if self.plugins.decider else []
            # Together with the new latents, for which mflux is about to wait: residuals that stay lazy
            # would keep every activation of the step.
            mx.async_eval(latents, *kept, *signals.read)
            self._close_step()
        self._index += 1

    def _close_step(self) -> None:
        if self._open is not None:
            self._open.signals.close()
            self._open = None

    def end(self, status: Status) -> None:
        """The loop is over: finished, interrupted or failed. May be called again where an interrupt cut it off."""
        self._close_step()
        if self.generation.status == "running":
            self.generation.seconds = time.perf_counter() - self._begun
            self.generation.status = status
        with ExitStack() as each:  # is told, also where one before it is interrupted; the last one pushed is the first
            for plugin in reversed(self._untold):
                each.callback(self._tell_end, plugin)

    def _tell_end(self, plugin: str) -> None:
        try:
            self.plugins.call(plugin, "mflux_generation_end", generation=self.generation)
        except BaseException as error:
            if is_interruption(error):
                raise
            _warn(plugin, "mflux_generation_end", error)
        finally:
            self._untold.remove(plugin)

    @property
    def stats(self) -> GenerationStats:
        """Of the image when its loop has ended; always the same object."""
        if self._stats is None:
            self._stats = self.generation.stats
        return self._stats

    def image_metadata(self) -> dict[str, Any]:
        """What each plugin wants recorded, by its name."""
        recorded = {}
        for plugin in self.plugins.implementers("mflux_image_metadata"):
            try:
                recorded[plugin] = self.plugins.call(plugin, "mflux_image_metadata", generation=self.generation)
            except BaseException as error:
                if is_interruption(error):
                    raise
                _warn(plugin, "mflux_image_metadata", error)
        return recorded


def _branch(decision: Decision, number: int, ran: Ran, target_rows: int | None) -> BodyBranch:
    if ran.reused:
        assert decision.residuals is not None
        residual = decision.residuals[number]
        assert residual is not None
        return BodyBranch(ran.input, ran.output, residual, reused=True, index=number)
    body_input, output = ran.input, ran.output
    if ran.in_full:  # the model has taken in its reference images: later steps have the target's rows alone
        body_input, output = body_input[:, :target_rows], output[:, :target_rows]
    return BodyBranch(body_input, output, output - body_input, reused=False, index=number)


def _record(step: Step, decision: Decision, branches: Mapping[int, Ran], signals: _Signals) -> StepRecord:
    outcome: Outcome = "forced" if decision.forced else "computed"
    reason = decision.reason
    if decision.residuals is not None:
        outcome = "skipped"
        if computed := [number for number, branch in branches.items() if not branch.reused]:
            outcome, reason = "forced", _why_computed(branches, computed)
    return StepRecord(
        index=step.index,
        sigma=signals.sigma(),
        decision=outcome,
        reason=reason,
        change=decision.change,
        prediction=decision.prediction,
        running_sum=decision.running_sum,
        threshold=decision.threshold,
    )


def _why_computed(branches: Mapping[int, Ran], computed: Sequence[int]) -> str:
    """Of branches that a plugin wanted to reuse."""
    in_full = [number for number in computed if branches[number].in_full]
    misfits = [number for number in computed if number not in in_full]
    reasons = (("the model needs all of branch", in_full), ("no residual fits branch", misfits))
    return "; ".join(f"{why} {', '.join(map(str, numbers))}" for why, numbers in reasons if numbers)


def _warn(plugin: str, hook: str, error: BaseException) -> None:
    """A finished image is worth more than a plugin's complaint."""
    warn_kept(f"plugin {plugin!r} failed in {hook}: {described(error)}. The image is kept.")
