"""The images of one attachment: each is judged, gets plugins of its own, and is taken note of."""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any, NamedTuple

from mflux_teacache.adapters.pipelines import Pipeline, for_image, generation_of, refuse_partly
from mflux_teacache.errors import Refused, is_interruption
from mflux_teacache.family import Family
from mflux_teacache.image_record.write import record_in
from mflux_teacache.messages import costing_nothing, warn_kept
from mflux_teacache.plugins import PluginSet, Request, attach_all, check_all
from mflux_teacache.records import AttachmentStats, Generation, GenerationStats, Status, Target
from mflux_teacache.runtime import Runtime
from mflux_teacache.spelling import described

Report = Callable[[GenerationStats], None]


class Making(Runtime):
    """Takes one image through its plugins' hooks, from its beginning to what is recorded with it."""

    def __init__(self, plugins: PluginSet, generation: Generation) -> None:
        super().__init__(plugins, generation)
        self._begun = 0.0
        self._untold = plugins.implementers("mflux_generation_end")
        self._stats: GenerationStats | None = None

    def start(self) -> None:
        """The denoising loop is about to begin."""
        self._begun = time.perf_counter()
        super().start()

    def end(self, status: Status) -> None:
        """The loop is over: finished, interrupted or failed. May be called again where an interrupt cut it off."""
        self.close_step()
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


class Generations:
    """Args:
    model: an mflux pipeline.
    pipeline: its entry.
    family: its transformer's.
    target: what it is; steps, guidance and size are not known yet.
    requests: the plugins, with their options.
    plugins: a set of them that is attached to the model.
    report: called with the stats of each finished image as ``generate_image`` returns.
    compile_blocks: is recorded with each image.

    Attributes:
        stats: of all images.
    """

    def __init__(
        self,
        model: Any,
        pipeline: Pipeline,
        family: Family,
        target: Target,
        requests: Sequence[Request],
        plugins: PluginSet,
        report: Report | None,
        *,
        compile_blocks: bool,
    ) -> None:
        self._model = weakref.ref(model)
        self._pipeline = pipeline
        self._family = family
        self._target = target
        self._requests = requests
        self._plugins = plugins
        self._idle = [plugins]
        self._at_work: list[_AtWork] = []
        self.stats = AttachmentStats()
        self._report = report
        self._compile_blocks = compile_blocks
        self._count = itertools.count()

    def check(self, arguments: dict[str, Any]) -> Target:
        """Let every plugin refuse what ``generate_image`` is asked for."""
        refuse_partly(self._pipeline, arguments, deciding=self._plugins.decider is not None)
        asked = for_image(self._target, arguments)
        check_all(self._plugins, self._requests, asked)
        return asked

    def begin(self, image: dict[str, Any], latents: Any, asked: Target | None) -> Making:
        """An image's own plugins, for a denoising loop that is about to start.

        mflux knows numbers that nobody gave: where it makes something else of what was asked for, plugins judge again.

        Args:
            image: mflux's ``config`` of it, its ``seed`` and its ``prompt``.
            asked: what was judged of it; ``None`` = nothing.

        Raises:
            Refused: a plugin turned the image down, or it cannot take part in two images that overlap.
        """
        generation = generation_of(self._pipeline, self._family, latents, **image)
        made = self._target.for_run(generation)
        if made != asked:
            check_all(self._plugins, self._requests, made)
        making = Making(self._idle.pop() if self._idle else self._one_more(), generation)
        self._at_work.append(_AtWork(weakref.ref(making), making.plugins))
        generation.number = next(self._count)
        return making

    def _one_more(self) -> PluginSet:
        """Further instances of the plugins, since all others have an image of their own."""
        plugins = self._plugins.again()
        at_work = [others.plugins for others in self._at_work if others.making() is not None]
        for name in chain.from_iterable(map(plugins.mixed_up_with, at_work)):
            raise Refused(
                f"another image is being made with this model, and plugin {name!r} is the same object for both, which "
                f"would mix them up. Wait until that image is done; or have what attach() was given make a new object "
                f"at each call; or set about = About(keeps_images_apart=True) on its class, if it keeps the state of "
                f"each image apart by generation.number."
            )
        attach_all(plugins, self._requests, self._target, self._model(), without=self._plugins)
        return plugins

    def end(self, making: Making, status: Status) -> None:
        """The denoising loop is over. May be called again where an interrupt cut it off."""
        try:
            making.end(status)
        finally:
            self.stats.add(making.stats)

    def record(self, image: Any, making: Making) -> None:
        """``generate_image`` has made this image of it. Nothing that goes wrong here costs the image."""
        with costing_nothing("recording what the plugins did"):
            values = making.image_metadata()
            record_in(
                image, self._plugins, self._requests, making.generation, values, compile_blocks=self._compile_blocks
            )
        if self._report is not None:
            with costing_nothing("reporting what the plugins did"):
                self._report(making.stats)

    def release(self, making: Making) -> None:
        """Another image may have its plugins."""
        for entry in list(self._at_work):
            if entry.making() in (making, None):
                self._at_work.remove(entry)
            if entry.making() is making:
                self._idle.append(entry.plugins)

    def drop(self) -> None:
        """There will be no image any more."""
        self._idle.clear()
        self._at_work.clear()


class _AtWork(NamedTuple):
    making: weakref.ref[Making]
    plugins: PluginSet


def _warn(plugin: str, hook: str, error: BaseException) -> None:
    """A finished image is worth more than a plugin's complaint."""
    warn_kept(f"plugin {plugin!r} failed in {hook}: {described(error)}. The image is kept.")
