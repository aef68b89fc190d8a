"""The images of one attachment: each is judged, gets plugins of its own, and is taken note of."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from mflux_teacache.adapters.pipelines import Pipeline, refuse_partly
from mflux_teacache.adapters.targets import for_image
from mflux_teacache.errors import Refused
from mflux_teacache.image_record import write as metadata
from mflux_teacache.kept import costing_nothing
from mflux_teacache.plugins import PluginSet, Request, attach_all, check_all
from mflux_teacache.records import AttachmentStats, Generation, GenerationStats, Status, Target
from mflux_teacache.runtime import Runtime

Report = Callable[[GenerationStats], None]


class Generations:
    """Args:
    model: an mflux pipeline.
    pipeline: its entry.
    target: what it is; steps, guidance and size are not known yet.
    requests: the plugins, with their options.
    plugins: a set of them that is attached to the model.
    stats: takes in each image.
    report: called with the stats of each finished image as ``generate_image`` returns.
    compile_blocks: is recorded with each image.
    """

    def __init__(
        self,
        model: Any,
        pipeline: Pipeline,
        target: Target,
        requests: Sequence[Request],
        plugins: PluginSet,
        stats: AttachmentStats,
        report: Report | None,
        *,
        compile_blocks: bool,
    ) -> None:
        self._model = weakref.ref(model)
        self._pipeline = pipeline
        self._target = target
        self._requests = requests
        self._plugins = plugins
        self._idle = [plugins]
        self._at_work: list[_AtWork] = []
        self._stats = stats
        self._report = report
        self._compile_blocks = compile_blocks
        self._count = itertools.count()

    def check(self, arguments: dict[str, Any]) -> Target:
        """Let every plugin refuse what ``generate_image`` is asked for."""
        refuse_partly(self._pipeline, arguments, deciding=self._plugins.decider is not None)
        asked = for_image(self._target, arguments)
        check_all(self._plugins, self._requests, asked)
        return asked

    def begin(self, generation: Generation, asked: Target | None) -> Runtime:
        """An image's own plugins, for a denoising loop that is about to start.

        mflux knows numbers that nobody gave: where it makes something else of what was asked for, plugins judge again.

        Args:
            generation: its number is given here.
            asked: what was judged of it; ``None`` = nothing.

        Raises:
            Refused: a plugin turned the image down, or it cannot take part in two images that overlap.
        """
        made = self._target.for_run(generation)
        if made != asked:
            check_all(self._plugins, self._requests, made)
        runtime = Runtime(self._idle.pop() if self._idle else self._one_more(), generation)
        self._at_work.append(_AtWork(weakref.ref(runtime), runtime.plugins))
        generation.number = next(self._count)
        return runtime

    def _one_more(self) -> PluginSet:
        """Further instances of the plugins, since all others have an image of their own."""
        plugins = self._plugins.again()
        at_work = [others.plugins for others in self._at_work if others.runtime() is not None]
        for name in chain.from_iterable(map(plugins.mixed_up_with, at_work)):
            raise Refused(
                f"another image is being made with this model, and plugin {name!r} is the same object for both, which "
                f"would mix them up. Wait until that image is done; or have what attach() was given make a new object "
                f"at each call; or set about = About(keeps_images_apart=True) on its class, if it keeps the state of "
                f"each image apart by generation.number."
            )
        attach_all(plugins, self._requests, self._target, self._model(), without=self._plugins)
        return plugins

    def end(self, runtime: Runtime, status: Status) -> None:
        """The denoising loop is over. May be called again where an interrupt cut it off."""
        try:
            runtime.end(status)
        finally:
            self._stats.add(runtime.stats)

    def record(self, image: Any, runtime: Runtime) -> None:
        """``generate_image`` has made this image of it. Nothing that goes wrong here costs the image."""
        with costing_nothing("recording what the plugins did"):
            values = runtime.image_metadata()
            metadata.record(
                image, self._plugins, self._requests, runtime.generation, values, compile_blocks=self._compile_blocks
            )
        if self._report is not None:
            with costing_nothing("reporting what the plugins did"):
                self._report(runtime.stats)

    def release(self, runtime: Runtime) -> None:
        """Another image may have its plugins."""
        for entry in list(self._at_work):
            if entry.runtime() in (runtime, None):
                self._at_work.remove(entry)
            if entry.runtime() is runtime:
                self._idle.append(entry.plugins)

    def drop(self) -> None:
        """There will be no image any more."""
        self._idle.clear()
        self._at_work.clear()


class _AtWork(NamedTuple):
    runtime: weakref.ref[Runtime]
    plugins: PluginSet
