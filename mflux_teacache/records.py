"""The values that cross the contract between mflux, the runtime and the plugins. No mlx, no mflux."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from mflux_teacache.errors import PluginError

if TYPE_CHECKING:
    import mlx.core as mx

Outcome = Literal["computed", "forced", "partial", "skipped"]
Status = Literal["running", "finished", "interrupted", "failed"]

LETTERS: dict[Outcome, str] = {"computed": "C", "forced": "C", "partial": "P", "skipped": "S"}

# What a guidance branch did in a step that is told branch by branch.
COMPUTED, REUSED = "C", "S"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a plugin is about to be attached to: known before any weights load.

    Attributes:
        pipeline: class name of the mflux pipeline, such as ``Flux1`` or ``Flux2KleinEdit``.
        family: transformer family, such as ``flux2``; ``None`` if a third party's entry will tell at attach.
        model: the model's Hugging Face id as mflux's ``ModelConfig.model_name`` has it, or a local path.
        base_model: the id of the built-in model that a custom checkpoint says it is based on.
        model_path: where a custom checkpoint comes from; ``None`` for a built-in model.
        loras: paths or ids of the LoRAs.
        lora_scales: one for each of them; 1 for those that are missing.
        quantize: bits per weight; ``None`` = not quantised.
        distilled: it is one of mflux's models that are distilled to a few steps.
        steps: ``num_inference_steps``; ``None`` while it is not known (``attach`` from Python).
        active_steps: steps that the loop will run (image-to-image starts late); ``None`` while not known.
        guidance: guidance scale; ``None`` while not known.
        width, height: pixels; ``None`` while not known.
        has_token_grid: the family tells how the image's tokens lie (``Step.on_grid``); ``None`` while not known.
    """

    pipeline: str
    family: str | None = None
    model: str | None = None
    base_model: str | None = None
    model_path: str | None = None
    loras: tuple[str, ...] = ()
    lora_scales: tuple[float, ...] = ()
    quantize: int | None = None
    distilled: bool = False
    steps: int | None = None
    active_steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    has_token_grid: bool | None = None

    def for_run(self, generation: Generation) -> Target:
        """The same with the numbers of an image whose denoising loop begins: all of them are known then."""
        return replace(
            self,
            steps=generation.num_inference_steps,
            active_steps=generation.active_steps,
            guidance=generation.guidance,
            width=generation.width,
            height=generation.height,
        )


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
    if not isinstance(arrays, list | tuple):
        raise TypeError(
            f"Decision.{method} takes one {what} per guidance branch, such as body.{of_body} or [{what}]; it was "
            f"given {type(arrays).__name__}"
        )
    return tuple(arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What happened in one denoising step.

    Attributes:
        index: place among the active steps, from 0.
        sigma: noise level, 1 = pure noise; ``None`` where the family cannot tell.
        decision: ``computed`` by the strategy's judgement, ``forced`` by a rule, ``skipped``, or ``partial``: some
            guidance branches computed, and the others reused a residual.
        change, prediction, running_sum, threshold, reason: as in :class:`Decision`. The reason also says why a branch
            computed that was to reuse a residual.
        branches: one letter per guidance branch that ran, in mflux's order of calling: C computed, S reused.
    """

    index: int
    sigma: float | None
    decision: Outcome
    reason: str = ""
    change: float | None = None
    prediction: float | None = None
    running_sum: float | None = None
    threshold: float | None = None
    branches: str = ""

    @property
    def cost(self) -> float:
        """The share of its branches that the step computed: 1.0 for a computed step, 0.0 for a skipped one."""
        if self.decision != "partial":
            return 0.0 if self.decision == "skipped" else 1.0
        return self.branches.count(COMPUTED) / len(self.branches)

    @property
    def score(self) -> float | None:
        """The value that was held against the threshold."""
        for value in (self.running_sum, self.prediction, self.change):
            if value is not None:
                return value
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStats:
    """One image: what was computed and what was skipped.

    Attributes:
        num_steps: active denoising steps that the image was to have.
        decisions: one record per completed step that called the transformer.
        status: ``finished``, or ``interrupted`` (Ctrl-C), or ``failed`` (an exception).
        seconds: wall-clock time of the denoising loop, without prompt encoding and VAE.
        seed: the image's seed.
    """

    num_steps: int
    decisions: tuple[StepRecord, ...]
    status: Status
    seconds: float
    seed: int

    @property
    def pattern(self) -> str:
        """One letter per step: C computed, S skipped, P partly reused."""
        return "".join(LETTERS[record.decision] for record in self.decisions)

    @property
    def skipped_count(self) -> int:
        return sum(record.decision == "skipped" for record in self.decisions)

    @property
    def partial_count(self) -> int:
        """Steps in which some guidance branches computed and the others reused a residual."""
        return sum(record.decision == "partial" for record in self.decisions)

    @property
    def forced_count(self) -> int:
        return sum(record.decision == "forced" for record in self.decisions)

    @property
    def computed_count(self) -> int:
        """Steps computed by the strategy's judgement, without the forced ones."""
        return sum(record.decision == "computed" for record in self.decisions)

    @property
    def cost(self) -> float:
        """What was computed, in steps: a partly reused step counts for the share of its branches that it computed."""
        return sum(record.cost for record in self.decisions)

    @property
    def speedup_estimate(self) -> float:
        """Steps over what was computed of them: the most that reuse can give, as if it took no time."""
        return speedup(len(self.decisions), self.cost)


def speedup(steps: int, computed: float) -> float:
    """``steps / computed``; 1.0 where nothing ran or nothing was computed."""
    return steps / computed if computed > 0 else 1.0


@dataclass(slots=True, kw_only=True)
class Generation:
    """One image in the making. Plugins read it; the runtime writes it.

    Attributes:
        number: how many images this attachment made before, from 0.
        seed, prompt, width, height, guidance: as given to ``generate_image``.
        num_inference_steps: steps of the whole schedule, without those at its end that call no transformer.
        active_steps: steps that the loop runs; fewer for image-to-image.
        target_rows: token rows of the image being made, where an image stream may go on with
            reference images (Kontext, edit); ``None`` = all rows.
        token_grid: lines and columns of tokens that the image being made has; ``None`` where the family cannot tell.
        sigmas: noise level of each active step, 1 = pure noise, as mflux's scheduler has it; ``None`` where the
            pipeline goes by noise levels of its own.
        status: ``running`` until the denoising loop has ended.
        records: one per completed step.
        seconds: of the denoising loop; 0.0 until it has ended.
    """

    number: int
    seed: int
    prompt: str
    width: int
    height: int
    guidance: float
    num_inference_steps: int
    active_steps: int
    target_rows: int | None = None
    token_grid: tuple[int, int] | None = None
    sigmas: tuple[float, ...] | None = None
    status: Status = "running"
    records: list[StepRecord] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def stats(self) -> GenerationStats:
        """A snapshot."""
        return GenerationStats(
            num_steps=self.active_steps,
            decisions=tuple(self.records),
            status=self.status,
            seconds=self.seconds,
            seed=self.seed,
        )


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
        at_output: this is an output that a plugin gave. Nothing of the body ran, and ``input``, ``output`` and
            ``residual`` do not exist.

    Raises:
        PluginError: one of these three is read all the same.
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
