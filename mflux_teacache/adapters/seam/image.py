"""One denoising loop of mflux's: its body, its steps, its calls for a prediction, and its guidance branches.

Images may overlap: in several threads, or one within a callback or a hook of another. So nothing that belongs to an
image is kept anywhere else. Which of them a call belongs to is known by its thread.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import mlx.core as mx

from mflux_teacache.adapters import entry_check
from mflux_teacache.adapters.seam.compiled_blocks import CompiledBlocks
from mflux_teacache.adapters.seam.run import Decide, Here, Pause, Run, gate
from mflux_teacache.adapters.seam.values import Carry, Made, Probe, own
from mflux_teacache.adapters.swaps import Swaps, subclass
from mflux_teacache.family import Dual, Family, Joint
from mflux_teacache.forward import Forward, Ran, Reuse
from mflux_teacache.records import Status
from mflux_teacache.runtime import Runtime

IMAGE = "_mflux_plugins_image"  # on the context that mflux makes for each image
_BODY = "_mflux_plugins_body"  # on the class of a block, while it asks what to do
_KEPT = 16  # more than any loop comes back to; with a new prompt in every step it would else keep all of them


class Body:
    """The body of a pipeline's transformer. Holds no strong reference to the transformer or its blocks.

    Args:
        transformer: an mflux transformer.
        family: its entry.
        residual_after: how many first blocks run in every step; the residual is taken after them.
        others: the transformers that the pipeline calls for its further guidance branches, if it has several.
        compile_blocks: compile each block on its own, where mflux does not compile more than that.

    Attributes:
        here: what each thread is in the middle of.
        given: makes a prediction's arguments into what the family's functions read.
        installed: its blocks ask what to do.

    Raises:
        UnsupportedModel: the blocks are not as the family's entry describes them, or too few for ``residual_after``.
    """

    def __init__(
        self,
        transformer: Any,
        family: Family,
        residual_after: int = 0,
        others: Sequence[Any] = (),
        *,
        compile_blocks: bool = False,
    ) -> None:
        transformers = [transformer, *others]
        blocks = [blocks_of(each, family) for each in transformers]
        entry_check.check_blocks(blocks, family, residual_after)
        self.family = family
        self.here = Here()
        self.given = entry_check.given_of_prediction(family)
        self.installed = False
        self.compiled_blocks = CompiledBlocks(family.looked_at, family.numbered) if compile_blocks else None
        self._residual_after = residual_after
        self._length = len(blocks[0])
        # Weak: mflux's memory saver frees a transformer by letting go of it, which must not depend on us.
        self._transformers = [weakref.ref(each) for each in transformers]
        self._swaps = Swaps()

    def install(self) -> None:
        """Let the blocks ask what to do: all of them at first, and later those that have taken another's place.

        Raises:
            UnsupportedModel: a block lacks what the family's entry names, or there are more or fewer than before.
            AlreadyAttached: a block is another attached model's as well.
        """
        for reference in self._transformers:
            if (transformer := reference()) is None:
                continue  # freed by mflux's memory saver
            blocks = blocks_of(transformer, self.family)
            if len(blocks) != self._length:
                raise entry_check.other_length(transformer, self._length, len(blocks))
            for place, (stage, block) in enumerate(blocks):
                asked = getattr(type(block), _BODY, None)
                if asked is not self:
                    if asked is not None and asked.installed:
                        raise entry_check.shared(block, place)
                    self._swaps.swap(block, self._asking(block, place, stage))
        self.installed = True

    def restore(self) -> None:
        """Give the blocks their classes back."""
        self._swaps.undo()
        self.installed = False

    def run(
        self, forward: Callable[[], Any], decide: Decide, carry: Carry | None = None, made: Made | None = None
    ) -> tuple[Any, list[Ran]]:
        """Run ``forward``, as ``Run`` tells. Returns what it returns, and its branches in the order of their calls."""
        run = Run(self.family, self._residual_after, decide, carry, made)
        with self.here.running(run):
            result = forward()
        run.end_branch()
        return result, run.branches

    def _asking(self, block: Any, place: int, stage: Dual | Joint) -> type:
        """The subclass of a block's class whose methods ask: once, also if two threads come here at once."""
        # Another thread may have put ours on top already: beneath it is the class that is to be extended.
        theirs = next(cls for cls in type(block).__mro__ if vars(cls).get(_BODY) is not self)
        entries = entry_check.entries_of(theirs, place, stage, self.family).items()
        gates = {name: gate(self.here, entry, self.compiled_blocks) for name, entry in entries}
        return subclass(theirs, {_BODY: self, **gates})


def blocks_of(transformer: Any, family: Family) -> list[entry_check.Listed]:
    """Every block of the body, in the order in which they run, with the list that it is in.

    Raises:
        UnsupportedModel: a list that the family's entry names is missing, or empty.
    """
    found: list[entry_check.Listed] = []
    for stage in family.body:
        blocks = transformer
        for name in stage.blocks.split("."):  # not isinstance: an mlx module is a dict too
            blocks = blocks.get(name) if type(blocks) is dict else getattr(blocks, name, None)
        if not isinstance(blocks, list) or not blocks:
            raise entry_check.changed(f"{type(transformer).__name__} has no block list {stage.blocks!r}", family)
        found += [(stage, block) for block in blocks]
    return found


Start = Callable[[Any], Runtime]
Finish = Callable[[Runtime, Status], None]


class Image:
    """One denoising loop.

    Args:
        body: of the pipeline's transformer.
        start: called with the latents when the loop is about to begin; gives what takes the plugins through its steps.
        finish: called with that and the status when the loop has ended, and again where an interrupt cut it off.

    Attributes:
        runtime: what ``start`` gave; ``None`` until the loop begins.
        over: the loop has ended, one way or another.
        asked: what the transformer was called with, where it compiles parts of itself.
        parts: stand for what the transformer has compiled of itself.
        branches: its guidance branches.
    """

    def __init__(self, body: Body, start: Start, finish: Finish) -> None:
        self.body = body
        self.runtime: Runtime | None = None
        self.over = False
        self.asked: dict[str, Any] | None = None
        self.parts: dict[tuple[int, str], Callable[..., Any]] = {}
        self.branches = Branches(body.family)
        self._start, self._finish = start, finish

    @property
    def is_waiting(self) -> bool:
        """The loop is between its first step and its last, and no call of its for a prediction is being answered."""
        return self.runtime is not None and not self.over and self.body.here.run is None

    def begin(self, latents: Any) -> None:
        """The loop is about to take its first step."""
        self.body.install()  # also on blocks that have been replaced since the image before
        self.runtime = self._start(latents)
        self.runtime.start()

    def run(self, predict: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """A call for a prediction that runs as Python: ``predict``, with these ``arguments`` by name."""
        return self.answer(EagerForward(self, arguments, predict))

    def answer(self, forward: Forward) -> Any:
        """A call for a prediction."""
        assert self.runtime is not None
        return self.runtime.predict(forward)

    def end_step(self, latents: Any, bar: Any) -> None:
        """mflux's scheduler has taken its step; ``latents`` are the new ones, not evaluated, and ``bar`` is mflux's."""
        if self.runtime is not None and not self.over:
            self.runtime.end_step(latents)
            skipped = sum(record.decision == "skipped" for record in self.runtime.generation.records)
            if skipped and hasattr(bar, "set_postfix_str"):  # a third party's loop may have another bar, or none
                bar.set_postfix_str(f"skipped {skipped}", refresh=False)
            self.branches.end_step()
            self.body.install()  # also on blocks that a callback has replaced

    def end(self, status: Status) -> None:
        """Does nothing if the loop never began, or is over. May be called again where an interrupt cut it off."""
        if self.runtime is not None and not self.over:
            self.branches, self.parts, self.asked = Branches(self.body.family), {}, None  # they hold model and prompts
            if self.body.compiled_blocks is not None:
                self.body.compiled_blocks.end_image()
            self._finish(self.runtime, status)
            self.over = True  # only now: where an interrupt cuts ``_finish`` off, the next call does the rest


class BaseForward:
    """A call for a prediction of an image, with these arguments by name, as the runtime sees it."""

    def __init__(self, image: Image, arguments: dict[str, Any]) -> None:
        self._image = image
        self._arguments = arguments
        # What is read of it, also when the step is over: a scheduler may step in place.
        self._entered = image.body.given(
            {name: own(value) if isinstance(value, mx.array) else value for name, value in arguments.items()}
        )
        self._prediction = image.branches.prediction(arguments, image.asked)

    def sigma(self) -> mx.array | float | None:
        return self._image.body.family.sigma(self._entered)

    def latents(self) -> mx.array:
        return self._entered.latents()

    def first_token(self, rows: int, tokens: int) -> int:
        grid = self._image.body.family.token_grid
        if grid is None or not grid.text_first:
            return 0
        after = 0 if grid.after is None else grid.after(self._entered)
        return rows - after - tokens

    def _reuse(self, decide: Callable[[], Reuse]) -> Reuse:
        """That of the branches which this prediction runs, as far as it is known which."""
        with aside(self._image.body.here):
            arrays, at_output = decide()
        mine = [arrays[number] if number < len(arrays) else None for number in self._prediction.branches]
        return Reuse(mine, at_output) if any(array is not None for array in mine) else Reuse()


class EagerForward(BaseForward):
    """A prediction that runs as Python, once: ``predict`` pauses at block 0 until it is decided how to go on."""

    def __init__(self, image: Image, arguments: dict[str, Any], predict: Callable[..., Any]) -> None:
        super().__init__(image, arguments)
        self._predict = predict
        self._pause: Pause | None = None

    def run(self, decide: Callable[[], Reuse]) -> tuple[Any, dict[int, Ran]]:
        def paused(pause: Pause) -> Reuse:
            self._pause = pause
            return self._reuse(decide)

        forward = partial(self._predict, **self._arguments)
        result, ran = self._image.body.run(forward, paused, made=self._prediction.made)
        return result, self._image.branches.numbered(self._prediction, ran)

    def probe(self, *, first_block: bool) -> Probe:
        assert self._pause is not None, "the forward has come to its body"
        return self._pause.probe(first_block=first_block)


@contextlib.contextmanager
def aside(here: Here) -> Iterator[None]:
    """For as long as plugins or mflux's callbacks are at work.

    They may make another image with this model, or call its transformer, and none of that belongs to this image.
    """
    before = here.call, here.image, here.run
    here.call = here.image = here.run = None
    try:
        yield
    finally:
        here.call, here.image, here.run = before


def loop_methods(cls: Any, here: Here) -> dict[str, Callable[..., None]]:
    """The methods by which the context of an image, of class ``cls``, is told of its loop: we hear first.

    Residuals must be gone before mflux's memory saver measures, and before decoding starts.
    """

    def before_loop(context: Any, latents: Any, *args: Any, **kwargs: Any) -> None:
        image = vars(context)[IMAGE]
        with aside(here):
            image.begin(latents)
            cls.before_loop(context, latents, *args, **kwargs)
        here.image = image  # not earlier: ``aside`` puts back what was there before

    def in_loop(context: Any, t: int, latents: Any, time_steps: Any = None, *args: Any, **kwargs: Any) -> None:
        with aside(here):
            vars(context)[IMAGE].end_step(latents, time_steps or context._config.time_steps)  # as mflux's own has it
            cls.in_loop(context, t, latents, time_steps, *args, **kwargs)

    def ending(name: str, status: Status) -> Callable[..., None]:
        def end(context: Any, *args: Any, **kwargs: Any) -> None:
            with aside(here):
                vars(context)[IMAGE].end(status)
                getattr(cls, name)(context, *args, **kwargs)
            here.image = None

        return end

    ends = {"after_loop": ending("after_loop", "finished"), "interruption": ending("interruption", "interrupted")}
    return {"before_loop": before_loop, "in_loop": in_loop, **ends}


@dataclass(slots=True, eq=False)
class Prediction:
    """A call for a prediction that mflux makes in one step after the other.

    Attributes:
        asked: what it is asked for, of what stays the same from step to step.
        branches: the numbers of its branches in the image, in the order in which it runs them; empty until it has run.
        made: when a branch was last computed; ``None`` until then.
        in_full: the model has taken in its reference images, so that later calls need not bring them.
    """

    asked: dict[str, Any]
    branches: list[int] = field(default_factory=list)
    made: Made | None = None
    in_full: bool = False

    def is_asked_again(self, asked: Mapping[str, Any]) -> bool:
        """Whether this is what it was asked for the last time."""
        if self.in_full:
            asked = {name: value for name, value in asked.items() if value is not None}
        elif asked.keys() != self.asked.keys():
            return False
        return all(name in self.asked and _same(self.asked[name], value) for name, value in asked.items())


class Branches:
    """The guidance branches of one image, which are numbered in the order in which they first run.

    A loop need not run the same ones in every step: guidance may end before the run does, or a prompt may be asked for
    in every other step. So a branch is recognised by what mflux asks its prediction for, and not by its place in the
    step, and it reuses only what it computed itself.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._known: list[Prediction] = []
        self._made: list[Prediction] = []  # in this step
        self._of_the_step: dict[tuple[str, ...], set[str]] = {}
        self._numbers = itertools.count()

    def end_step(self) -> None:
        """The predictions that follow belong to another step."""
        self._made.clear()

    def prediction(self, arguments: Mapping[str, Any], asked: Mapping[str, Any] | None = None) -> Prediction:
        """The one that is asked for; a new one if it was never made before, or in this step already.

        Args:
            arguments: of mflux's call.
            asked: what tells the call from others; ``None`` = its arguments.
        """
        asked = self._telling(arguments, arguments if asked is None else asked)
        again = (each for each in self._known if each not in self._made and each.is_asked_again(asked))
        known = next(again, None)
        if known is None:
            known = Prediction({})
            self._known = [*self._known[1 - _KEPT :], known]
        known.asked = asked
        self._made.append(known)
        return known

    def _telling(self, arguments: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        """What tells one prediction from another: without latents, noise level, and numbers such as guidance."""
        names = tuple(arguments)
        if names not in self._of_the_step:
            self._of_the_step[names] = {*entry_check.read_by(self._family, arguments), *self._family.made_anew}
        left_out = self._of_the_step[names]
        return {name: value for name, value in asked.items() if name not in left_out and not _is_number(value)}

    def numbered(self, prediction: Prediction, ran: Sequence[Ran]) -> dict[int, Ran]:
        """Take in what a prediction did; returns its branches by their numbers, in the order in which they ran."""
        prediction.branches += itertools.islice(self._numbers, max(0, len(ran) - len(prediction.branches)))
        for branch in ran:
            if not branch.reused:
                prediction.made = Made.by(branch)
        prediction.in_full = any(branch.in_full for branch in ran)
        return dict(zip(prediction.branches, ran, strict=False))


def _is_number(value: Any) -> bool:
    """Also an array of one for each image of a batch, such as a time."""
    if isinstance(value, mx.array):
        return value.ndim < 2
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    """The same object, or plain values that are equal."""
    return one is other or (_is_plain(one) and _is_plain(other) and one == other)


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, str | int | float)
