"""What a plugin reads of one denoising step, and what it answers. No mlx until a signal is read, and no mflux."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from mflux_teacache.errors import PluginError

if TYPE_CHECKING:
    import mlx.core as mx

    from mflux_teacache.records import Generation


class Numbers(TypedDict, total=False):
    """What a decision may say of its numbers, as ``Decision`` describes them."""

    change: float | None
    prediction: float | None
    running_sum: float | None
    threshold: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decision:
    """What a deciding plugin wants of one denoising step. Made by ``compute`` or ``reuse``.

    The numbers are optional and only for people: they end up in the step's record, in the summary line
    and in plots. ``change`` is what was measured, ``prediction`` what was made of it, ``running_sum``
    the accumulated value; the last of these that is given is what the strategy held against ``threshold``.

    Attributes:
        residuals: one residual per guidance branch of the image, as ``Body.residuals`` has them. A branch whose entry
            is missing, ``None`` or of another shape computes.
        outputs: one output of the transformer per guidance branch, as ``Body.model_outputs`` has them; likewise. At
            most one of the two is given, and with neither the step computes.
        forced: computed because of a rule (window, cap, no reference) and not because of the threshold.
        reason: a few words, such as ``"first steps"``.
    """

    residuals: tuple[mx.array | None, ...] | None = None
    outputs: tuple[mx.array | None, ...] | None = None
    forced: bool = False
    reason: str = ""
    change: float | None = None
    prediction: float | None = None
    running_sum: float | None = None
    threshold: float | None = None

    @classmethod
    def compute(cls, reason: str = "", *, forced: bool = False, **numbers: Unpack[Numbers]) -> Decision:
        """Run the transformer's body in this step."""
        return cls(forced=forced, reason=reason, **numbers)

    @classmethod
    def reuse(cls, residuals: Sequence[mx.array | None], reason: str = "", **numbers: Unpack[Numbers]) -> Decision:
        """Skip the body: its output is its input plus ``residuals[branch]``.

        Raises:
            TypeError: ``residuals`` is not a list or tuple, such as a single array.
        """
        return cls(residuals=_for_each_branch(residuals, "reuse", "residual", "residuals"), reason=reason, **numbers)

    @classmethod
    def reuse_outputs(
        cls, outputs: Sequence[mx.array | None], reason: str = "", **numbers: Unpack[Numbers]
    ) -> Decision:
        """Skip the transformer: to mflux, it returns ``outputs[branch]``.

        What mflux does with the outputs (guidance, renormalisation, sign) stays mflux's. A plugin that reuses outputs
        alone says so in its ``about``, which spares the evaluation of residuals.

        Raises:
            TypeError: ``outputs`` is not a list or tuple, such as a single array.
        """
        return cls(
            outputs=_for_each_branch(outputs, "reuse_outputs", "output", "model_outputs"), reason=reason, **numbers
        )


def _for_each_branch(
    arrays: Sequence[mx.array | None], method: str, what: str, of_body: str
) -> tuple[mx.array | None, ...]:
    # An array is a sequence too: of its rows, each of which would be taken for a branch's.
    if not isinstance(arrays, list | tuple):
        raise TypeError(
            f"Decision.{method} takes one {what} per guidance branch, such as body.{of_body} or [{what}]; it was "
            f"given {type(arrays).__name__}"
        )
    return tuple(arrays)


@dataclass(eq=False)
class Step(ABC):
    """One denoising step, before its body has run. Signals are computed only when they are read.

    Attributes:
        index: place among the active steps, from 0.
        generation: the image this step belongs to.
        branches: guidance branches of a step; ``None`` until the first step of the image has completed.
    """

    index: int
    generation: Generation
    branches: int | None

    @property
    @abstractmethod
    def active_steps(self) -> int:
        """How many steps the denoising loop runs."""

    @property
    @abstractmethod
    def sigma(self) -> float | None:
        """Noise level, 1 = pure noise; ``None`` where the family cannot tell. May wait for the device."""

    @property
    @abstractmethod
    def modulated_input(self) -> mx.array:
        """Block 0's normalised and modulated image input of the first branch: TeaCache's signal.

        Shape ``(batch, rows, width)`` in the stream's dtype; not evaluated. Rows go on with the reference
        images where there are some (``target_part`` cuts them off), and cover the text as well where a family
        concatenates its streams before block 0.
        """

    @property
    @abstractmethod
    def first_block_residual(self) -> mx.array:
        """Block 0's image output minus its image input, first branch: first-block cache's signal.

        Shape and dtype as ``modulated_input``; not evaluated. Block 0 is not run again afterwards.
        """

    @property
    @abstractmethod
    def latents(self) -> mx.array:
        """The latents that enter this step, as the family shapes them; not evaluated."""

    @abstractmethod
    def target_part(self, signal: mx.array) -> mx.array:
        """A signal's rows of the image being made, without the reference images that may follow them."""

    @abstractmethod
    def on_grid(self, signal: mx.array) -> mx.array | None:
        """A signal's rows of the image being made, as its tokens lie in the image: without text and reference images.

        Shape ``(batch, height, width, channels)``, with height and width in tokens; not evaluated. ``None`` where the
        family cannot tell.
        """

    @abstractmethod
    def relative_l1(self, now: mx.array, earlier: mx.array) -> float:
        """``mean|now - earlier| / mean|earlier|`` in float32: waits for the device once.

        NaN where the two differ in shape or dtype (another size or branch: nothing to compare),
        or where ``earlier`` is zero.
        """


@dataclass(slots=True, eq=False)
class BodyBranch:
    """What one guidance branch did in a step. Arrays are not evaluated.

    Attributes:
        input: what the residual is added to, image part: the body's input, or the output of its first
            ``residual_after`` blocks. Shape ``(batch, rows, width)``, without the rows of reference images that
            only this step takes in.
        output: image part of the body's output, same shape.
        residual: ``output - input``, or the residual that was reused.
        reused: the output is ``input`` plus a residual that a plugin gave, or the transformer's output is one that a
            plugin gave; the body did not run.
        index: the branch's number in the image. Branches are numbered from 0 in the order in which they first run, and
            are known again by what mflux asks them for, such as a prompt.
        model_output: what the transformer returned to mflux for this branch: a velocity, before guidance, in the shape
            and dtype that the family gives it. ``None`` where a step was made by hand without one.
        at_output: this is an output that a plugin gave. Nothing of the body ran, so ``input``, ``output`` and
            ``residual`` do not exist: reading one of them raises ``PluginError``.
    """

    input: mx.array = field(repr=False)
    output: mx.array = field(repr=False)
    residual: mx.array = field(repr=False)
    reused: bool
    index: int
    model_output: mx.array | None = field(default=None, repr=False)
    at_output: bool = False

    @classmethod
    def without_body(cls, model_output: mx.array | None, index: int) -> BodyBranch:
        """A branch that reused the transformer's output."""
        # Three fields stay unset, so that reading one is an error that says why, where ``None`` would fail later on.
        branch = cls.__new__(cls)
        branch.reused = branch.at_output = True
        branch.index, branch.model_output = index, model_output
        return branch

    def __getattr__(self, name: str) -> Any:
        """Of a field that was left out."""
        raise PluginError(
            f"BodyBranch.{name} was read of guidance branch {self.index}, which reused the transformer's output: "
            f"nothing of its body ran. Ask for at_output first."
        )


@dataclass(slots=True, eq=False)
class Body:
    """What the body did in one step, branch by branch, in mflux's order of calling."""

    branches: tuple[BodyBranch, ...]

    @property
    def residuals(self) -> tuple[mx.array | None, ...]:
        """What ``Decision.reuse`` takes later: by the branches' numbers, ``None`` for one that did not run."""
        # Not in the order of ``branches``: a step need not run all of the image's, nor in the order of their numbers.
        return _by_number({branch.index: branch.residual for branch in self.branches if not branch.at_output})

    @property
    def model_outputs(self) -> tuple[mx.array | None, ...]:
        """What ``Decision.reuse_outputs`` takes later, likewise."""
        return _by_number({branch.index: branch.model_output for branch in self.branches})

    @property
    def computed(self) -> bool:
        """Every branch ran."""
        return not any(branch.reused for branch in self.branches)


def _by_number(arrays: Mapping[int, mx.array | None]) -> tuple[mx.array | None, ...]:
    return tuple(arrays.get(number) for number in range(max(arrays, default=-1) + 1))
