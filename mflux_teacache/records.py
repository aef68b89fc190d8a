"""What is told of an image: what it is to be made with, what happened in each of its steps, and the sums. No mlx."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

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
        scheduler: class name of mflux's scheduler; ``None`` while not known, or where it is not gone by.
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
    scheduler: str | None = None

    def for_run(self, generation: Generation) -> Target:
        """The same with the numbers of an image whose denoising loop begins: all of them are known then."""
        return replace(
            self,
            steps=generation.num_inference_steps,
            active_steps=generation.active_steps,
            guidance=generation.guidance,
            width=generation.width,
            height=generation.height,
            scheduler=generation.scheduler,
        )


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
        seconds: wall-clock time from mflux's first call for the step's prediction to that for the next one's; ``None``
            until the image's loop has ended.
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
    seconds: float | None = None

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
        scheduler: class name of mflux's scheduler; ``None`` where the pipeline goes by noise levels of its own.
        status: ``running`` until the denoising loop has ended.
        records: one per completed step.
        begun: when each step has begun, by ``time.perf_counter``.
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
    scheduler: str | None = None
    status: Status = "running"
    records: list[StepRecord] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def end(self, status: Status, begun: float, ended: float) -> None:
        """The denoising loop is over; ``begun`` and ``ended`` are by ``time.perf_counter``."""
        # mflux waits for a step's latents when the step is over, and before the next one begins.
        lasted = (after - before for before, after in pairwise([*self.begun, ended]))
        pairs = zip(self.records, lasted, strict=False)  # a step that was cut off has begun, and has no record
        self.records[:] = [replace(record, seconds=seconds) for record, seconds in pairs]
        self.seconds, self.status = ended - begun, status

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
