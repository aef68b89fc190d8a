"""What is attached to a model: the handle that takes it off again, and the images that are made meanwhile."""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple

from mflux_teacache.adapters.entry_check import check_pipeline
from mflux_teacache.adapters.families import FAMILIES
from mflux_teacache.adapters.lifecycle import MARK, Lifecycle
from mflux_teacache.adapters.pipelines import (
    Pipeline,
    family_of,
    for_image,
    generation_of,
    of_model,
    pipeline_of,
    refuse_partly,
    refuse_unsupported,
)
from mflux_teacache.adapters.seam.image import Body
from mflux_teacache.errors import AlreadyAttached, BrokenPlugin, Refused, UnsupportedModel, is_interruption
from mflux_teacache.family import Family
from mflux_teacache.image_record.write import record_in
from mflux_teacache.messages import costing_nothing, warn_kept
from mflux_teacache.plugins import PluginSet, Request, attach_all, check_all
from mflux_teacache.records import Generation, GenerationStats, Status, Target
from mflux_teacache.runtime import Runtime
from mflux_teacache.spelling import brief, described
from mflux_teacache.stats import AttachmentStats

Report = Callable[[GenerationStats, Mapping[str, Any]], None]  # also told what each plugin wants recorded


class Handle:
    """One attachment of plugins to a model, with its statistics. ``restore()``, or leaving its context, undoes it.

    Attributes:
        stats: counts and per-step records of every image.
        plugins: names of the plugins, in the order in which they were named.
    """

    def __init__(self, model: Any, body: Body, plugins: list[str], generations: Generations) -> None:
        self.plugins = plugins
        self._stats = generations.stats
        self._lifecycle = Lifecycle(model, body, generations, self)

    @property
    def stats(self) -> AttachmentStats:
        self._lifecycle.under_way()  # an image that has failed unseen ends here
        return self._stats

    @property
    def attached(self) -> bool:
        """Whether the plugins, or any part of them, are still on the model."""
        return not self._lifecycle.off

    @property
    def leaving(self) -> bool:
        """Whether ``restore()`` was called and is waiting for an image to finish."""
        return self.attached and self._lifecycle.leaving

    def restore(self) -> None:
        """Take the plugins off: the model is then bit for bit what it was.

        While an image is being made, they stay until it is done. Whatever was wrapped around the model since stays.
        It may be called any number of times; if Ctrl-C interrupts it, the next call finishes the work.
        """
        self._lifecycle.restore()

    def _put_on(self, model: Any) -> None:
        try:
            self._lifecycle.install()
            _refuse_to_be_second(model, self)
        except BaseException:  # Ctrl-C too must leave nothing on the model
            self.restore()
            raise

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore()


def attach_requests(
    model: Any,
    requests: Sequence[Request],
    report: Report | None = None,
    model_path: str | None = None,
    *,
    compile_blocks: bool = False,
    judged: PluginSet | None = None,
) -> Handle:
    """Attach plugins that are loaded and whose options have been checked.

    Args:
        report: called for each finished image as ``generate_image`` returns.
        model_path: where a custom checkpoint came from, which the loaded model does not know.
        compile_blocks: as in ``attach``.
        judged: the requested plugins, if they already exist and their ``mflux_check`` has run.
    """
    refuse_what_is_no_pipeline(model)
    _refuse_attached(model, "this model")
    _refuse_mlx_teacache(model)
    plugins = PluginSet([request.plugin for request in requests]) if judged is None else judged
    pipeline = pipeline_of(type(model))
    family = _family(model, pipeline, plugins)
    for attribute in family.attributes:
        _refuse_attached(getattr(model, attribute), "another model with the same transformer")
    target = replace(of_model(model, family.name), model_path=model_path, has_token_grid=family.token_grid is not None)
    if judged is None:
        check_all(plugins, requests, target)
    attach_all(plugins, requests, target, model)
    transformer, *others = (getattr(model, attribute, None) for attribute in family.attributes)
    body = Body(transformer, family, plugins.residual_after, others, compile_blocks=compile_blocks)
    images = Generations(
        model=weakref.ref(model),
        pipeline=pipeline,
        family=family,
        target=target,
        requests=requests,
        plugins=plugins,
        report=report,
        compile_blocks=compile_blocks,
    )
    handle = Handle(model, body, plugins.names, images)
    handle._put_on(model)
    return handle


def attached(model: Any) -> Handle | None:
    """The handle of what is attached to a model, for callers who did not keep it; ``None`` if nothing is attached.

    Args:
        model: an mflux pipeline, or one of its transformers.
    """
    handle: Handle | None = getattr(type(model), MARK, None)
    return handle if handle is not None and handle.attached else None


def _family(model: Any, pipeline: Pipeline, plugins: PluginSet) -> Family:
    """The entry for the model's transformer.

    Raises:
        UnsupportedModel: there is none, or it does not fit, or plugins do not run on the pipeline.
    """
    families = [*_third_party_families(plugins), *FAMILIES]  # in this order, so that a plugin can replace our entry
    attributes = sorted({name for family in families for name in family.attributes})
    held = (getattr(model, name, None) for name in attributes)
    transformer = next((transformer for transformer in held if transformer is not None), None)
    if pipeline.level == "refused" or transformer is None:
        refuse_unsupported(pipeline)
    if transformer is None:
        raise UnsupportedModel(
            f"{type(model).__name__} holds no transformer: it has none of {', '.join(attributes)}. If mflux's memory "
            f"saver has freed it, load the model anew."
        )
    family = family_of(transformer, families)
    check_pipeline(model, family)
    return family


def _third_party_families(plugins: PluginSet) -> list[Family]:
    found: list[Family] = []
    for name in plugins.implementers("mflux_families"):
        families = plugins.check(name, "mflux_families")
        if families is None:
            continue
        if not isinstance(families, Sequence) or not all(isinstance(family, Family) for family in families):
            raise BrokenPlugin(
                f"plugin {name!r}: mflux_families returned {brief(families)}; it must return a list of "
                f"mflux_teacache.Family, such as [MINE]."
            )
        found += families
    return found


def refuse_what_is_no_pipeline(model: Any) -> None:
    missing = [name for name in ("generate_image", "callbacks") if getattr(model, name, None) is None]
    if isinstance(model, type) or "generate_image" in missing:
        raise UnsupportedModel(
            f"attach() takes a loaded mflux pipeline, such as Flux1(...) or Flux2Klein(...), and was given "
            f"{brief(model)}, which makes no images. Load the model first, and attach to that."
        )
    if missing or "callbacks" not in vars(model):
        raise UnsupportedModel(
            f"{type(model).__name__} has no callback registry of mflux's (model.callbacks), by which plugins hear of "
            f"its denoising steps. A pipeline of one's own needs self.callbacks = CallbackRegistry(), and a loop that "
            f"tells it of each step, as mflux's do."
        )


def _refuse_attached(owner: Any, where: str) -> None:
    """Refuse a pipeline or a transformer that has plugins already."""
    handle = attached(owner)
    if handle is not None and handle.leaving:
        handle.restore()  # an interrupt may have cut off the first call, or the image it waited for may be done
    if handle is not None and handle.attached:
        raise _already(handle, where)


def _already(handle: Handle, where: str) -> AlreadyAttached:
    what = f"plugin {', '.join(map(repr, handle.plugins))} is" if handle.plugins else "compiled blocks are"
    if handle.leaving:
        return AlreadyAttached(
            f"{what} being taken off {where}, which waits for the image that is under way. Attach when that is done."
        )
    return AlreadyAttached(
        f"{what} attached to {where} already. Call restore() on its handle first, which "
        f"mflux_teacache.attached(model) returns, or name all plugins in one attach()."
    )


def _refuse_to_be_second(model: Any, handle: Handle) -> None:
    """Refuse this attachment if another thread attached to the model at the same time and came first."""
    noted: list[Handle] = [vars(cls)[MARK] for cls in type(model).__mro__ if MARK in vars(cls)]
    others = [other for other in noted if other is not handle and other.attached]
    # A handle above ours will find ours beneath it and step back; if ours is missing, another has replaced it.
    earlier = others if handle not in noted else [other for other in others if noted.index(other) > noted.index(handle)]
    if earlier:
        raise _already(earlier[0], "this model")


def _refuse_mlx_teacache(model: Any) -> None:
    # mlx-teacache need not be importable here, so its objects are known by their ``__module__``.
    places = [*vars(model).values(), type(getattr(model, "transformer", None))]
    if any(str(getattr(place, "__module__", "")).split(".")[0] == "mlx_teacache" for place in places):
        raise AlreadyAttached(
            "mlx-teacache is at work on this model already, and two caches would reuse what the other reused. "
            "Call restore() on its handle first."
        )


# --- The images -------------------------------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class Generations:
    """The images of one attachment: each is checked, gets plugin instances of its own, and is recorded.

    Attributes:
        model: an mflux pipeline, whose entry is ``pipeline``. The reference is weak: mflux's memory saver frees models.
        family: the entry for its transformer.
        target: describes the model; steps, guidance and size are not known yet.
        requests: the plugins, with their options.
        plugins: the first set of instances, which is attached to the model.
        report: called for each finished image as ``generate_image`` returns.
        compile_blocks: recorded with each image.
        stats: the statistics of all images.
    """

    model: weakref.ref[Any]
    pipeline: Pipeline
    family: Family
    target: Target
    requests: Sequence[Request]
    plugins: PluginSet
    report: Report | None
    compile_blocks: bool
    stats: AttachmentStats = field(default_factory=AttachmentStats)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._idle = [self.plugins]
        self._at_work: list[_AtWork] = []

    def check(self, arguments: dict[str, Any]) -> Target:
        """Let every plugin refuse what ``generate_image`` is asked for."""
        refuse_partly(self.pipeline, arguments, deciding=self.plugins.decider is not None)
        asked = for_image(self.target, arguments)
        check_all(self.plugins, self.requests, asked)
        return asked

    def begin(self, image: dict[str, Any], latents: Any, asked: Target | None) -> Making:
        """Give an image whose denoising loop is about to start its own plugins.

        Args:
            image: mflux's ``config`` for the image, its ``seed`` and its ``prompt``.
            asked: what ``check`` was given for it; ``None`` if nothing was checked.

        Raises:
            Refused: a plugin turned the image down, or it cannot take part in two images that overlap.
        """
        generation = generation_of(self.pipeline, self.family, latents, **image)
        made = self.target.for_run(generation)  # mflux fills in and rounds numbers, and brings a scheduler
        if asked is None or made != replace(asked, scheduler=made.scheduler):
            check_all(self.plugins, self.requests, made)
        making = Making(self._idle.pop() if self._idle else self._one_more(), generation)
        self._at_work.append(_AtWork(weakref.ref(making), making.plugins))
        generation.number = next(self._count)
        return making

    def _one_more(self) -> PluginSet:
        """Make further instances of the plugins, because each existing set is busy with an image."""
        plugins = self.plugins.again()
        at_work = [others.plugins for others in self._at_work if others.making() is not None]
        for name in itertools.chain.from_iterable(map(plugins.mixed_up_with, at_work)):
            raise Refused(
                f"another image is being made with this model, and plugin {name!r} is the same object for both, which "
                f"would mix them up. Wait until that image is done; or have what attach() was given make a new object "
                f"at each call; or set about = About(keeps_images_apart=True) on its class, if it keeps the state of "
                f"each image apart by generation.number."
            )
        attach_all(plugins, self.requests, self.target, self.model(), without=self.plugins)
        return plugins

    def end(self, making: Making, status: Status) -> None:
        """The denoising loop is over. May be called again where an interrupt cut it off."""
        try:
            making.end(status)
        finally:
            self.stats.add(making.stats)

    def record(self, image: Any, making: Making) -> None:
        """Record what happened in the image that ``generate_image`` has made. No failure here costs the image."""
        values = making.image_metadata()
        with costing_nothing("recording what the plugins did"):
            record_in(image, self.plugins, self.requests, making.generation, values, compile_blocks=self.compile_blocks)
        if self.report is not None:
            with costing_nothing("reporting what the plugins did"):
                self.report(making.stats, values)

    def release(self, making: Making) -> None:
        """Let another image have the plugins of this one."""
        for entry in list(self._at_work):
            if entry.making() in (making, None):
                self._at_work.remove(entry)
            if entry.making() is making:
                self._idle.append(entry.plugins)

    def drop(self) -> None:
        """Drop all instances: no further image will be made."""
        self._idle.clear()
        self._at_work.clear()


class Making(Runtime):
    """Takes one image through its plugins' hooks, from its beginning to what is recorded with it."""

    def __init__(self, plugins: PluginSet, generation: Generation) -> None:
        super().__init__(plugins, generation)
        self._begun = 0.0
        self._untold = plugins.implementers("mflux_generation_end")

    def start(self) -> None:
        """The denoising loop is about to begin."""
        self._begun = time.perf_counter()
        super().start()

    def end(self, status: Status) -> None:
        """The loop is over: finished, interrupted or failed. May be called again where an interrupt cut it off."""
        self.close_step()
        if self.generation.status == "running":
            self.generation.end(status, self._begun, time.perf_counter())
        # An ExitStack goes on with the others when one is interrupted. It runs the last callback first: hence reversed.
        with ExitStack() as each:
            for plugin in reversed(self._untold):
                each.callback(self._tell_end, plugin)

    def _tell_end(self, plugin: str) -> None:
        try:
            self._call(plugin, "mflux_generation_end")
        finally:
            self._untold.remove(plugin)

    @cached_property
    def stats(self) -> GenerationStats:
        """The image's stats, once its loop has ended; always the same object."""
        return self.generation.stats

    def image_metadata(self) -> dict[str, Any]:
        """The values that each plugin wants recorded, by the plugin's name."""
        hook = "mflux_image_metadata"
        return {plugin: self._call(plugin, hook) for plugin in self.plugins.implementers(hook)}

    def _call(self, plugin: str, hook: str) -> Any:
        """A hook's result, or ``None`` with a warning if the hook fails."""
        try:
            return self.plugins.call(plugin, hook, generation=self.generation)
        except BaseException as error:  # SystemExit as well: the finished image is worth more than a plugin's complaint
            if is_interruption(error):
                raise
            warn_kept(f"plugin {plugin!r} failed in {hook}: {described(error)}. The image is kept.")
            return None


class _AtWork(NamedTuple):
    making: weakref.ref[Making]
    plugins: PluginSet
